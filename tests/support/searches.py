"""Settings for searches by hypothesis: repeatable, without a database."""

from hypothesis import HealthCheck, settings


def examples(number):
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
