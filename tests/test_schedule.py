"""The kernel's SYN schedule, against what this and other kernels were measured to do."""

from __future__ import annotations

import pytest

from chaos.schedule import Schedule, Unit, from_sysctls, syn_schedule


@pytest.mark.parametrize(
    ("sysctls", "sends", "gives_up"),
    [
        ({"tcp_syn_retries": 1, "tcp_syn_linear_timeouts": 0}, (0, 1), 3),  # measured: 3.03 s
        ({"tcp_syn_retries": "1", "tcp_syn_linear_timeouts": "0", "tcp_rto_max_ms": "1000"}, (0, 1), 2),  # 2.03 s
        ({"net.ipv4.tcp_syn_retries": 1, "net.ipv4.tcp_syn_linear_timeouts": 4}, (0, 1, 2, 3, 4, 5), 7),
        ({"tcp_syn_retries": 6, "tcp_syn_linear_timeouts": 4}, (0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67), 131),  # 131-134 s
        ({"tcp_syn_retries": 6}, (0, 1, 3, 7, 15, 31, 63), 127),  # before 6.5
        ({"tcp_syn_retries": 3, "tcp_syn_linear_timeouts": 0, "tcp_rto_max_ms": 2000}, (0, 1, 3, 5), 7),
    ],
)
def test_follows_the_sysctls(sysctls: dict[str, int | str], sends: tuple[float, ...], gives_up: float) -> None:
    assert from_sysctls(sysctls) == Schedule(sends, gives_up)


def test_a_first_timeout_of_a_jiffy_keeps_the_shape() -> None:
    quick, real = syn_schedule(6, 4, unit=Unit(0.004)), syn_schedule(6, 4)
    assert quick.sends == pytest.approx([at * 0.004 for at in real.sends])
    assert [units for units, _, _ in quick.intervals()] == [units for units, _, _ in real.intervals()]


def test_without_the_number_of_retries_there_is_no_schedule() -> None:
    with pytest.raises(KeyError):
        from_sysctls({})


def test_hardly_early_and_a_little_late() -> None:
    assert Schedule((0, 1), 3).window == pytest.approx((2.976, 3.425))


@pytest.mark.parametrize(
    ("sent", "problems"),
    [
        ([0, 1.02], []),
        ([0, 1.02, 3.03], ["expected 2 SYNs, got 3"]),
        ([0], ["expected 2 SYNs, got 1"]),
        ([0, 0.99], []),  # measured: the count of ticks was behind when the first SYN was sent
        ([0, 0.97], ["expected SYN 2 at 0.976s..1.175s, got 0.970s"]),
        ([0, 1.2], ["expected SYN 2 at 0.976s..1.175s, got 1.200s"]),
    ],
)
def test_syns_are_held_against_it(sent: list[float], problems: list[str]) -> None:
    assert Schedule((0, 1), 3).mismatches(sent) == problems


EIGHT_MS = Unit(0.008)
TICKING = [0, 0.012, 0.024, 0.036, 0.048, 0.060, 0.080, 0.116, 0.184, 0.320, 0.592]
"""A compressed schedule as it was measured at HZ=250."""


def test_a_compressed_interval_is_its_units_and_two_jiffies() -> None:
    schedule = from_sysctls({"tcp_syn_retries": 6, "tcp_syn_linear_timeouts": 4}, EIGHT_MS)
    units, low, high = zip(*schedule.intervals(), strict=True)
    assert units == (1, 1, 1, 1, 1, 2, 4, 8, 16, 32)
    assert low == pytest.approx([each * 0.008 for each in units])
    assert high == pytest.approx([each * 0.009 + 0.008 for each in units])
    assert schedule.unit.scale == pytest.approx(125)


@pytest.mark.parametrize(
    ("at", "sent", "problem"),
    [
        (1, 0.002, None),  # the count of ticks was behind when the first SYN was sent
        (1, 0.070, "expected SYN 2 1 units (0.0..67.0 ms) after SYN 1, got 70.0 ms"),
        (6, 0.080, None),
        (6, 0.073, None),  # almost a tick early: the machine was paused
        (6, 0.068, "expected SYN 7 2 units (12.0..76.0 ms) after SYN 6, got 8.0 ms"),  # it never doubled
        (6, 0.120, None),  # 40 ms late: the machine was busy
        (6, 0.140, "expected SYN 7 2 units (12.0..76.0 ms) after SYN 6, got 80.0 ms"),
        (10, 0.480, "expected SYN 11 32 units (252.0..346.0 ms) after SYN 10, got 160.0 ms"),
    ],
)
def test_compressed_syns_are_held_against_the_shape(at: int, sent: float, problem: str | None) -> None:
    schedule = from_sysctls({"tcp_syn_retries": 6, "tcp_syn_linear_timeouts": 4}, EIGHT_MS)
    later = [each + sent - TICKING[at] for each in TICKING[at:]]
    assert schedule.mismatches([*TICKING[:at], *later]) == ([problem] if problem else [])


def test_a_compressed_schedule_counts_its_syns() -> None:
    schedule = from_sysctls({"tcp_syn_retries": 6, "tcp_syn_linear_timeouts": 4}, EIGHT_MS)
    assert schedule.mismatches(TICKING[:-1]) == ["expected 11 SYNs, got 10"]
    assert schedule.window == pytest.approx((1.024, 1.629))
