# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by the integration and interop tests."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))

from service import Deployment  # noqa: E402


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    """A running service that a module's tests share; ending it checks that it left nothing behind."""
    deployment = Deployment(tmp_path_factory.mktemp("mint")).create().start()
    yield deployment
    deployment.ensure_stopped()


@pytest.fixture(scope="module")
def two_grants(mint):
    """The certificate of acme's account that has two grants."""
    return mint.ca.issue("two-grants", dns=["two-grants.acme.example"])


@pytest.fixture(scope="module")
def mirror(mint):
    """The certificate of acme's account that may have any resource."""
    return mint.ca.issue("mirror", dns=["mirror.acme.example"])


@pytest.fixture
def deployment(tmp_path):
    """A deployment of the test's own that could start but hasn't been."""
    made = Deployment(tmp_path / "mint").create()
    yield made
    made.ensure_stopped()


FIGURES = pytest.StashKey()


@pytest.fixture
def figure(request, record_property):
    """figure(name, value, unit, relation): a measured number, for the report's properties and the end of the run."""

    def record(name, value, unit, relation):
        line = {"figure": name, "value": value, "unit": unit, "relation": relation}
        request.config.stash.setdefault(FIGURES, []).append(line)
        record_property(name, f"{value} {unit} ({relation})")

    return record


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(json.dumps(line))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    made = item.funcargs.get("mint") or item.funcargs.get("deployment")
    if report.failed and made and made.log_file.exists():
        report.sections.append(("mintmarkd's log", made.log()[-4000:]))
