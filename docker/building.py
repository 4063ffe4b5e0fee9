"""Makes an environment's image where it is missing: built by docker or podman, or turned into a file by apptainer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from base_image import Base, read_base
from common import EngineError, Settings, git_commit, maker_lock
from containers import image_id, image_name, inspect_image, sif_file, works
from stacks import sm_list

# Docker hands these to a RUN without recording them in the image, podman takes them from its caller by itself.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def prepare_image(settings: Settings, env: str) -> None:
    """Make the image if it is not there, or was built on another base than the BASE_IMAGE that is set.

    Raises:
        EngineError: The build failed, or there is nothing to make apptainer's file from.
    """
    if _is_made(settings, env):
        return
    with maker_lock(settings, f"image-{settings.engine}-{env}-{settings.stack}"):
        if _is_made(settings, env):
            return
        name = image_name(settings, env)
        started = time.monotonic()
        if settings.engine == "apptainer":
            _make_sif(settings, env, name)
        else:
            _build(settings, env, name)
        print(f"{name} is ready after {time.monotonic() - started:.0f} s.", flush=True)


def _is_made(settings: Settings, env: str) -> bool:
    if image_id(settings, env) is None:
        return False
    if settings.engine == "apptainer" or not os.environ.get("BASE_IMAGE"):
        return True
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    return inspect_image(settings.engine, image_name(settings, env), label) == read_base(settings.root).name


def _build(settings: Settings, env: str, name: str) -> None:
    base = read_base(settings.root)
    if not base.digest:
        _warn_of_tag(str(base))
    digest = find_base(settings.engine, base)
    print(f"building the image {name}; the layer of its packages is kept, so later builds take seconds …", flush=True)
    status = subprocess.run(build_command(settings, env, name, base, digest), env={"DOCKER_BUILDKIT": "0", **os.environ}, check=False).returncode
    if status != 0:
        raise EngineError(f"building {name} on {base} failed (see above). What was built is kept: run the same command again to go on from there.")


@lru_cache(maxsize=None)  # once for the three images of a `make images`
def _warn_of_tag(base: str) -> None:
    print(
        f"warning: the base image {base} has no digest, so the same build may start from another image next month. `make pin` records the digest.",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def find_base(engine: str, base: Base, always_pull: bool = False) -> str:
    """Have the base image on this host; return its digest, or "" where it has none because it was made here.

    Args:
        always_pull: Ask the registry even where the image is here.

    Raises:
        EngineError: It is not here and cannot be pulled.
    """
    told = None if always_pull else inspect_image(engine, base.reference, "{{.RepoDigests}}")
    if told is None:
        print(f"pulling {base.reference} …", flush=True)
        if subprocess.run([engine, "pull", base.reference], stdout=subprocess.DEVNULL, check=False).returncode != 0:
            raise EngineError(
                f"the base image {base} cannot be pulled (see above). Check the network, set BASE_IMAGE to a mirror's name of it, or make a base "
                f"yourself: docker/make-base.sh {engine}, then BASE_IMAGE=facttune/base:bookworm. ENGINE=venv needs no image."
            )
        told = inspect_image(engine, base.reference, "{{.RepoDigests}}")
    return base.digest or _digest_of(base, told or "")


def _digest_of(base: Base, told: str) -> str:
    """Return the digest under which the repository itself has the image; engines write the repository short or with its registry."""
    for repository, digest in re.findall(r"([^\s\[\]]+)@(sha256:[0-9a-f]{64})", told):
        if repository == base.repository or repository.endswith(f"/{base.repository}"):
            return str(digest)
    return ""


def build_command(settings: Settings, env: str, name: str, base: Base, digest: str) -> list[str]:
    """Return the command that builds an image; options that every builder has."""
    command = [settings.engine, "build", "--network", "host", "--file", str(settings.root / "docker" / f"{env}.Dockerfile"), "--tag", name]
    arguments = {
        "BASE_IMAGE": base.reference,
        "BASE_NAME": base.name,
        "BASE_DIGEST": digest,
        "STACK": settings.stack,
        "LOCK_SHA256": settings.lock_hash(env),
        "GIT_COMMIT": git_commit(settings.root),
        "SM_LIST": " ".join(sm_list(env, settings.stack)),
    }
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    for key in _PROXIES:
        command += ["--build-arg", key] if settings.engine == "docker" and key in os.environ else []
    return [*command, str(settings.root)]


def _make_sif(settings: Settings, env: str, name: str) -> None:
    """Make apptainer's file from an archive beside it, or from the image of another engine on this host."""
    target = sif_file(settings, env)
    archive = target.with_suffix(".tar")
    other = next((engine for engine in ("docker", "podman") if works(engine)), None)
    if not archive.exists() and other is None:
        raise EngineError(
            f"{target} is missing, and there is neither docker nor podman here to build it with. On a host with one of them: `make images`, then "
            f"`docker save {name} -o {archive.name}`; bring that file to {archive.parent} and run this again."
        )
    with tempfile.TemporaryDirectory(prefix=".sif-", dir=settings.envs) as folder:
        if not archive.exists() and other is not None:
            prepare_image(replace(settings, engine=other), env)
            archive = Path(folder) / "image.tar"
            _call([other, "save", "--output", str(archive), name])
        print(f"turning {archive.name} into {target.name}; some minutes …", flush=True)
        # Unpacked where the file will lie: /tmp of a cluster's node is often too small for it.
        _call(["apptainer", "build", "--disable-cache", str(Path(folder) / "image.sif"), f"docker-archive:{archive}"], {"APPTAINER_TMPDIR": folder})
        (Path(folder) / "image.sif").rename(target)


def _call(command: list[str], variables: dict[str, str] | None = None) -> None:
    if subprocess.run(command, env={**os.environ, **(variables or {})}, check=False).returncode != 0:
        raise EngineError(f"`{' '.join(command[:2])}` failed (see above). Mend that and run the same command again.")
