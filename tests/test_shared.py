"""Which backend a lab is made of: `auto` is netns, unless a service is an image that only a container can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import shared, topology
from chaos.model import Setting


@pytest.mark.parametrize(
    ("service", "backend"),
    [
        ("image: redis:7", "docker"),
        ("build: .", "docker"),
        ("image: connect-chaos/node-of-another", "docker"),
        ("image: redis:7, x-chaos: {netns: {command: [redis-server]}}", "netns"),
        ("image: ghcr.io/shopify/toxiproxy:2.12.0, x-chaos: {toxiproxy: {listen: 1, upstream: 'app:2'}}", "netns"),
        ("x-chaos: {netns: {command: [redis-server]}}", "netns"),
        ("image: connect-chaos/node", "netns"),
        ("image: connect-chaos/node:0.1.0", "netns"),
        ("command: [sleep, infinity]", "netns"),
    ],
)
def test_auto_is_netns_unless_a_scenario_needs_an_image(service: str, backend: str, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(f"services: {{app: {{image: connect-chaos/node}}, it: {{{service}}}}}")
    setting = Setting(topology.load(tmp_path / "compose.yaml"), client="app")
    assert shared.Shared("auto").of(setting) == backend
    assert shared.Shared("netns").of(setting) == "netns"
    assert shared.Shared("docker").of(setting) == "docker"
