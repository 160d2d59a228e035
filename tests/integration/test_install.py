# SPDX-License-Identifier: Apache-2.0
"""An installation in a folder of its own: what it holds, and that others can build against it and run what it brings."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from service import BUILD, Deployment

TOP = pathlib.Path(__file__).parents[2]
EXAMPLE = TOP / "docs" / "examples"
NETWORK, REFUSED = 7, 8


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def cache(name):
    """A variable of the build's CMakeCache.txt."""
    return re.search(rf"^{name}:[A-Z]+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE).group(1)


# What is built against a sanitized library must be sanitized, too.
SANITIZE = [f"-fsanitize={kinds}"] if (kinds := cache("MM_SANITIZE")) else []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Installed below DESTDIR, as a packager does, and moved from there: nothing may know where it was meant to be."""
    stage = tmp_path_factory.mktemp("stage")
    run("cmake", "--install", BUILD, "--prefix", "/opt/mintmark", env=dict(os.environ, DESTDIR=str(stage)))
    prefix = tmp_path_factory.mktemp("installed") / "somewhere else"
    shutil.move(stage / "opt" / "mintmark", prefix)
    return prefix


@pytest.fixture(scope="module")
def mint(tmp_path_factory, installed):
    """A service that runs from the installation, worker and all."""
    deployment = Deployment(tmp_path_factory.mktemp("mint")).create()
    deployment.command = lambda: [str(installed / "bin" / "mintmarkd"), "--config", str(deployment.config_file)]
    yield deployment.start()
    deployment.ensure_stopped()


def libdir(installed):
    return next(installed.glob("lib*/**/libmintmark.a")).parent


def compile_c(installed, target, *flags, source=EXAMPLE / "issue.c", compiler="gcc", kind=()):
    """Through a shell, as people use pkg-config."""
    environment = dict(os.environ, PKG_CONFIG_PATH=str(libdir(installed) / "pkgconfig"))
    libraries = run("pkg-config", *kind, "--cflags", "--libs", "libmintmark", env=environment).strip()
    if kind:
        libraries = libraries.replace("-lmintmark", "-l:libmintmark.a")
    command = f"{compiler} -Wall -Wextra -Werror '{source}' {' '.join([*SANITIZE, *flags])} {libraries} -o '{target}'"
    run("sh", "-c", command)
    return target


@pytest.fixture(scope="module")
def programs(tmp_path_factory, installed):
    """The example, built in each of the ways that the documentation names."""
    folder = tmp_path_factory.mktemp("example")
    build = folder / "cmake"
    flags = " ".join(SANITIZE)
    run("cmake", "-S", EXAMPLE, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={installed}", f"-DCMAKE_C_FLAGS={flags}")
    run("cmake", "--build", build)
    return {
        "pkg-config": compile_c(installed, folder / "shared"),
        "pkg-config --static": compile_c(installed, folder / "static", kind=["--static"]),
        "find_package": build / "issue",
        "find_package, static": build / "issue-static",
    }


WAYS = ["pkg-config", "pkg-config --static", "find_package", "find_package, static"]


def start(installed, program, mint, *, credential="ci", tenant="acme", scope="read:repo", url=None):
    credential = mint._credential(credential)
    command = [program, url or f"https://localhost:{mint.port}", mint.server_ca.file]
    command += [credential.certificate_file, credential.key_file, tenant, scope]
    environment = dict(os.environ, LD_LIBRARY_PATH=str(libdir(installed)))
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, env=environment
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_example_gets_a_token_from_an_installed_service(installed, mint, programs, way):
    done = start(installed, programs[way], mint)
    assert done.returncode == 0, done
    header, jwt = done.stdout.strip().rsplit(" ", 1)
    assert header == "Authorization: Bearer"
    assert jwt not in done.stderr
    jwks = mint.folder / "jwks.json"
    jwks.write_text(json.dumps(mint.jwks()))
    told = subprocess.run(
        [installed / "bin" / "mintmark", "inspect", "--jwks", jwks], input=jwt, capture_output=True, text=True
    )
    assert told.stdout.startswith("VERIFIED"), told


@pytest.mark.parametrize("way", WAYS)
def test_only_the_shared_form_needs_the_shared_library(programs, way):
    needed = run("readelf", "-d", programs[way])
    assert ("libmintmark.so.0" in needed) == ("static" not in way)


@pytest.mark.parametrize("kind", [[], ["--static"]], ids=["shared", "static"])
def test_a_program_keeps_its_own_json_allocator(installed, mint, tmp_path, kind):
    source = TOP / "tests" / "support" / "host.c"
    program = compile_c(installed, tmp_path / "host", "-ljansson", source=source, kind=kind)
    done = start(installed, program, mint)
    assert done.returncode == 0, done


def test_a_refusal_and_a_service_that_is_away_are_told(installed, mint, programs):
    refused = start(installed, programs["pkg-config"], mint, scope="write:repo")
    assert refused.returncode == REFUSED
    assert "scope_not_granted" in refused.stderr
    away = start(installed, programs["pkg-config"], mint, url="https://localhost:1")
    assert away.returncode == NETWORK
    assert "again in" in away.stderr


def test_the_library_exports_what_its_headers_declare_and_nothing_else(installed):
    text = "".join(path.read_text() for path in (installed / "include" / "mintmark").iterdir())
    declared = set(re.findall(r"^MM_API [^;(]*?\b(mm_\w+)\(", text, re.MULTILINE))
    assert "mm_client_issue_service_token" in declared
    shared = run("nm", "-D", "--defined-only", libdir(installed) / "libmintmark.so")
    exported = {line.split()[2] for line in shared.splitlines() if line.split()[1] != "A"}
    assert exported == {f"{name}@@MINTMARK_0" for name in declared}
    if not SANITIZE:  # whose own symbols can't be hidden
        static = run("nm", "-g", "--defined-only", libdir(installed) / "libmintmark.a")
        assert {line.split()[2] for line in static.splitlines() if len(line.split()) == 3} == declared


def test_the_library_needs_nothing_of_the_service(installed):
    needed = set(re.findall(r"NEEDED.*\[(lib\w+)", run("readelf", "-d", libdir(installed) / "libmintmark.so")))
    allowed = {"libjansson", "libcurl", "libssl", "libcrypto", "libc"}
    assert {"libcurl", "libjansson"} <= needed
    assert needed <= allowed | ({"libasan", "libubsan", "libtsan", "libm"} if SANITIZE else set())


@pytest.mark.parametrize("compiler,language", [("gcc", "c99"), ("gcc", "c11"), ("g++", "c++11"), ("g++", "c++20")])
def test_the_headers_stand_alone_in_c_and_in_cpp(installed, tmp_path, compiler, language):
    source = tmp_path / ("main.c" if compiler == "gcc" else "main.cpp")
    source.write_text("#include <mintmark/client.h>\nint main() { return mm_client_version() != MM_CLIENT_VERSION_NUMBER; }\n")
    program = compile_c(installed, tmp_path / "program", f"-std={language}", "-Wpedantic", source=source, compiler=compiler)
    run(program, env=dict(os.environ, LD_LIBRARY_PATH=str(libdir(installed))))
    included = run("gcc", "-M", f"-I{installed}/include", "-x", "c", installed / "include/mintmark/client.h")
    assert "curl" not in included
    assert "jansson" not in included


def test_an_older_version_is_not_taken_for_a_newer_one(installed, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(x LANGUAGES C)\nfind_package(mintmark 0.2 REQUIRED)\n"
    )
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}"], capture_output=True
    )
    assert done.returncode != 0


def test_the_documentation_is_installed(installed):
    documents = installed / "share" / "doc" / "mintmark"
    for name in ("README.md", "LICENSE", "docs/client.md", "docs/examples/issue.c"):
        assert (documents / name).is_file()


def test_the_scripts_that_the_documentation_names_are_installed(installed):
    """Those that it says to run; it is about building and testing, too, which takes the source."""
    documents = installed / "share" / "doc" / "mintmark"
    told = run(documents / "scripts" / "key-ceremony", "--help")
    assert "--label LABEL" in told and "scripts/key-ceremony" in (documents / "docs" / "custody.md").read_text()


def test_no_link_of_the_installed_documentation_leads_nowhere(installed):
    documents = installed / "share" / "doc" / "mintmark"
    for page in documents.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
