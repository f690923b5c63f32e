"""Values of the wrong type or size are refused by name."""

from __future__ import annotations

import pytest
from fakes import Server

import caliburn
from caliburn import Pool

COUNTS = (
    "max_size",
    "min_size",
    "min_idle",
    "initial_size",
    "capacity",
    "max_waiters",
    "connect_concurrency",
    "maintenance_concurrency",
    "worker_threads",
)
TIMES = (
    "checkout_timeout",
    "connect_timeout",
    "ping_timeout",
    "reset_timeout",
    "close_timeout",
    "idle_timeout",
    "sweep_interval",
    "leak_threshold",
    "wait_ready",
)


def build(**settings):
    return Pool(Server().connect, **settings)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", ["7", 7.5, [], True, object()])
def test_a_count_is_an_integer(name, value):
    with pytest.raises(TypeError, match=name):
        build(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_not_negative(name):
    with pytest.raises(ValueError, match=name):
        build(**{name: -1})


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", ["7", [], True, object()])
def test_a_time_is_a_number(name, value):
    with pytest.raises(TypeError, match=name):
        build(**{name: value})


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [-1, float("nan"), -0.001])
def test_a_time_is_not_negative(name, value):
    with pytest.raises(ValueError, match=name):
        build(**{name: value})


@pytest.mark.parametrize("name", ["check", "reset", "close", "is_permanent"])
def test_a_callback_is_callable(name):
    with pytest.raises(TypeError, match=name):
        build(**{name: 7})


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"reset": "commit"}, "reset"),
        ({"reset_on": "elsewhere"}, "reset_on"),
        ({"health": "luck"}, "health"),
        ({"health": {"luck": True}}, "luck"),
        ({"health": {"age_eviction": {"max_lifetime": 0}}}, "max_lifetime"),
        ({"fairness": "unfair"}, "fairness"),
        ({"shedding": "some"}, "shedding"),
        ({"max_size": 0}, "max_size"),
        ({"min_size": 11}, "min_size"),
        ({"min_idle": 11}, "min_idle"),
        ({"initial_size": 11}, "initial_size"),
        ({"capacity": 5}, "capacity"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"connect_concurrency": 0}, "connect_concurrency"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(settings, name):
    with pytest.raises(ValueError, match=name):
        build(**settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"health": 7}, "health"),
        ({"health": {"ping_on_borrow": []}}, "ping_on_borrow"),
        ({"fairness": 7}, "fairness"),
        ({"shedding": None}, "shedding"),
        ({"fail_fast": 1}, "fail_fast"),
    ],
)
def test_a_choice_of_the_wrong_type_is_named(settings, name):
    with pytest.raises(TypeError, match=name):
        build(**settings)


def test_all_contradictions_are_told_together():
    with pytest.raises(caliburn.ConfigError) as caught:
        build(min_size=20, min_idle=30)
    assert "min_size" in str(caught.value) and "min_idle" in str(caught.value)


def test_connect_is_callable_and_takes_arguments():
    with pytest.raises(TypeError, match="connect must be callable"):
        Pool("dbname=songs")
    with pytest.raises(TypeError, match="args"):
        Pool(Server().connect, "dbname=songs")
    with pytest.raises(TypeError):
        Pool(Server().connect, 7)


@pytest.mark.parametrize("timeout", ["7", [], object()])
def test_the_timeout_of_a_borrower_is_a_number(timeout):
    with build() as pool:
        with pytest.raises(TypeError, match="timeout"):
            pool.getconn(timeout=timeout)
        with pytest.raises(TypeError, match="timeout"):
            pool.connection(timeout=timeout)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_the_timeout_of_a_borrower_is_not_negative(timeout):
    with build() as pool:
        with pytest.raises(ValueError, match="timeout"):
            pool.getconn(timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            pool.connection(timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            pool.close_within(timeout)
        with pytest.raises(ValueError, match="timeout"):
            pool.wait_ready(timeout)


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"args": 5}, TypeError, "args must be"),
        ({"kwargs": 5}, TypeError, "kwargs must be"),
        ({"kwargs": "x"}, TypeError, "kwargs must be"),
        ({"trace": 1}, TypeError, "trace must be"),
        ({"reset_on": 1}, TypeError, "reset_on must be"),
        ({"max_size": 2**63}, ValueError, "max_size must be"),
        ({"max_waiters": 10**30}, ValueError, "max_waiters must be"),
        ({"health": {"age_eviction": {"jitter": float("nan")}}}, ValueError, "jitter must be"),
        ({"health": {"age_eviction": {"max_uses": 1.5}}}, TypeError, "max_uses must be"),
        ({"connect_timeout": -(10**400)}, ValueError, "connect_timeout must be"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_with_its_name(settings, kind, said):
    with pytest.raises(kind, match=said):
        Pool(dict, **settings)


def test_a_time_without_end_is_taken_for_a_very_long_one():
    for endless in (10**400, float("inf"), 1e18):
        with Pool(dict, connect_timeout=endless, close_timeout=endless, idle_timeout=endless):
            pass
