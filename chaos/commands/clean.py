"""clean: end what runs that are dead have left behind.

The netns backend leaves nothing, whatever kills it: namespaces, interfaces, mounts and files end with its processes,
and these with the process that started them. This looks all the same, ends what it finds by pid, and says what it did.
Of the docker backend containers, networks and volumes are left when its reaper is killed as well: they carry their
owner's pid (chaos/backends/runs.py). The runs of living processes, artefacts and everything else are left alone.
"""

from __future__ import annotations

import argparse
import json

from chaos.commands import BROKEN, PASSED


def options(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run and --json."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be ended, and end nothing")
    parser.add_argument("--json", action="store_true", help="one object")


def run(options: argparse.Namespace) -> int:
    """End what is left; exit status 3 when something could not be ended."""
    from chaos import sessions
    from chaos.backends import docker

    processes = sessions.found()
    left = sessions.orphans(processes)
    living = sum(len(one.pids) == 1 for one in processes.values()) - sum(len(one.pids) == 1 for one in left)
    ended = {one: None if options.dry_run else sessions.end(one) for one in left}
    removed = docker.clean(dry=options.dry_run)
    if options.json:
        found = [{"pid": one.pid, "owner": one.owner, "problem": problem} for one, problem in ended.items()]
        more = {"ended": not options.dry_run, "living_sessions": living, "docker_runs": removed}
        print(json.dumps({"found": found, **more}))
    else:
        for one, problem in ended.items():
            did = "would end" if options.dry_run else f"could not end ({problem})" if problem else "ended"
            print(f"{did} the session process {one.pid}, whose owner {one.owner} is dead")
        for name in removed:
            print(f"{'would remove' if options.dry_run else 'removed'} the containers and networks of the run {name}")
        print(f"{len(left)} processes of dead runs; living sessions: {living}, left alone")
    return BROKEN if any(ended.values()) else PASSED
