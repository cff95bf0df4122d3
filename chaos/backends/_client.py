"""The engine's API as docker-py has it, for an engine that may die: then it is said so, and whose it was."""

from __future__ import annotations

from typing import Any, Final

import requests
from docker import APIClient

from chaos.errors import LabError

IMPATIENT: Final = 5.0
"""Seconds for an answer of an engine that has let one request run out of time: a frozen one answers none."""


class Client(APIClient):
    """An APIClient whose requests raise LabError when nobody answers. `where`: the engine's address, for messages."""

    def __init__(self, where: str, **options: Any) -> None:
        self._where, self._silent = where, False
        super().__init__(**options)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """One request, as requests.Session sends it."""
        options["verify"] = self.verify  # requests takes REQUESTS_CA_BUNDLE for it, which is not about the engine
        if self._silent:
            options["timeout"] = IMPATIENT
        try:
            answer = super().send(request, **options)
            self._silent = False
            return answer
        except requests.RequestException as error:
            self._silent = self._silent or isinstance(error, requests.Timeout)
            raise LabError(f"the Docker Engine at {self._where} does not answer: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The innermost cause: requests and urllib3 wrap it several times over."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return str(cause) or type(cause).__name__
