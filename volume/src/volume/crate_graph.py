"""A dataset's results as the entities of an RO-Crate: what each step wrote, from what, with which code, on what.

The crate follows RO-Crate 1.1 and the profile Process Run Crate 0.5: one CreateAction per step. Files of single topics are folded
into one Dataset per step, with a digest over all of them, so that a crate of thousands of files stays readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from volume.chain import Book, left_out, trace
from volume.files import sha256_bytes

Entity = dict[str, Any]

SPECIFICATION = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_RUN_TERMS = "https://w3id.org/ro/terms/workflow-run#"

# Terms of Workflow Run RO-Crate that version 1.1 lacks; spelt out, so that a reader needs one context alone.
_TERMS = {name: _RUN_TERMS + name for name in ("ContainerImage", "containerImage", "environment", "sha256")}

_HOW_HASHED = "The identifier is the SHA-256 over the lines that sha256sum prints for the files (names sorted by their bytes, as seen from {above})."

_FORMATS = {
    ".json": "application/json", ".jsonl": "application/x-ndjson", ".txt": "text/plain", ".html": "text/html", ".svg": "image/svg+xml",
    ".db": "application/vnd.sqlite3", ".toml": "application/toml", ".py": "text/x-python",
}  # fmt: skip


@dataclass(frozen=True)
class About:
    """What manifests do not know: whose crate it is, and on what terms.

    Attributes:
        license: URL of a licence, or a sentence.
        license_name: Name of the licence with that URL.
        agent: Who ran the steps, "" where that is not told.
    """

    license: str
    license_name: str = ""
    agent: str = ""


def digest_of(files: Mapping[str, str], above: str) -> str:
    """Return the SHA-256 over the lines that sha256sum prints for {file: SHA-256}, named from ``above``, in the order of their bytes."""
    named = sorted((str(PurePosixPath(path).relative_to(above)).encode(), digest.encode()) for path, digest in files.items())
    return sha256_bytes(b"".join(digest + b"  " + name + b"\n" for name, digest in named))


@dataclass
class _Crate:
    """The entities so far, by id."""

    book: Book
    makers: dict[str, str]
    hash_of: Callable[[str], str | None]
    size_of: Callable[[str], int]
    entities: dict[str, Entity] = field(default_factory=dict)
    parts: dict[str, None] = field(default_factory=dict)  # of the root
    folders: dict[str, dict[str, None]] = field(default_factory=dict)  # {folder's id: ids of the sets in it}

    def add(self, identity: str, kind: str | list[str], **values: Any) -> Entity:
        """Add an entity unless it is there; return a reference to it."""
        self.entities.setdefault(identity, {"@id": identity, "@type": kind, **values})
        return {"@id": identity}

    def inside(self, path: str) -> str | None:
        """Return a file's path within the dataset's folder; None for a file elsewhere on the volume."""
        folder, _, rest = path.partition("/")
        return rest if folder == self.book.folder else None

    def file(self, path: str, name: str = "") -> Entity:
        """Add a file of the dataset's folder."""
        inside = self.inside(path) or path
        identity = quote(inside)
        if identity in self.entities:
            return {"@id": identity}
        self.parts[identity] = None
        return self.add(
            identity, "File", name=name or inside, contentSize=str(self.size_of(path)), sha256=self.hash_of(path),
            encodingFormat=_FORMATS.get(PurePosixPath(inside).suffix, "application/octet-stream"),
        )  # fmt: skip

    def set_of(self, step: str, folder: str, files: Mapping[str, str]) -> Entity:
        """Add the files that a step wrote into one folder, one for each topic, as one entity."""
        inside = quote(folder.partition("/")[2]) + "/"
        identity = f"#{step}-{quote(PurePosixPath(folder).name)}"
        if identity in self.entities:
            return {"@id": identity}
        self.parts[inside] = None
        self.folders.setdefault(inside, {})[identity] = None
        return self.add(
            identity, "Dataset", name=f"{len(files)} files of {step}", size=str(len(files)), contentSize=str(sum(map(self.size_of, files))),
            identifier=f"sha256:{digest_of(files, self.book.folder)}",
            description=f"One file for each topic, in {inside}. {_HOW_HASHED.format(above='the folder of this crate')}",
        )  # fmt: skip

    def source(self, folder: str, files: Mapping[str, str], model: Mapping[str, Any] | None) -> Entity:
        """Add files from outside of the dataset's folder, those of one folder as one entity; they are not part of the crate."""
        first = next(iter(files))
        named = f"{model['source']} at {model['revision'] or 'no pinned revision'}" if model and model["source"] else "no source is named in the definition"
        return self.add(
            f"#source-{quote(folder)}" + (f"/{quote(PurePosixPath(first).name)}" if len(files) == 1 else ""), "CreativeWork",
            name=first if len(files) == 1 else f"{folder} ({len(files)} files)", identifier=f"sha256:{digest_of(files, folder)}",
            description=f"Read from {folder}/ on the volume, not part of this crate: {named}. {_HOW_HASHED.format(above='there')}",
        )  # fmt: skip


def build_crate(book: Book, hash_of: Callable[[str], str | None], size_of: Callable[[str], int], about: About, extra: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content of `ro-crate-metadata.json`.

    Args:
        book: All manifests of the dataset, verified.
        extra: Further files of the dataset's folder to describe, by their path below the volume.
    """
    crate = _Crate(book, book.makers(), hash_of, size_of)
    order = list(reversed(trace(book, crate.makers).steps))
    newest = max((book.manifests[step] for step in order), key=lambda manifest: str(manifest["finished"]))
    definition = newest["definition"]
    for path in extra:
        crate.file(path)
    agent = crate.add("#agent", "Person", name=about.agent or "not recorded")
    actions = [_add_action(crate, step, agent) for step in order]
    for folder, sets in crate.folders.items():
        crate.add(folder, "Dataset", name=folder, hasPart=[{"@id": name} for name in sets], description="Files of single topics, by the steps that wrote them.")
    linked = about.license.startswith("http")
    title = definition["description"] or definition["name"]
    root = {
        "@id": "./", "@type": "Dataset", "name": f"FactTune: {definition['name']}",
        "description": f"{title}: what {len(order)} steps wrote, what each read, and what it ran on. Seed {definition['seed']}.",
        "datePublished": newest["finished"], "license": {"@id": about.license} if linked else about.license,
        **({"author": agent} if about.agent else {}), "conformsTo": [{"@id": PROFILE}], "hasPart": [{"@id": name} for name in sorted(crate.parts)], "mentions": actions,
    }  # fmt: skip
    if linked:
        crate.add(about.license, "CreativeWork", name=about.license_name or about.license, description="The licence of the files in this crate.")
    crate.add(PROFILE, "CreativeWork", name="Process Run Crate", version=PROFILE.rpartition("/")[2])
    head = {"@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": SPECIFICATION}}
    graph = [_compact(entity) for entity in (head, root, *crate.entities.values())]
    return {"@context": [f"{SPECIFICATION}/context", _TERMS], "@graph": graph}


def _compact(entity: Entity) -> Entity:
    """Return an entity with lists of one value as that value, as JSON-LD's compact form has it."""
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items()}


def _add_action(crate: _Crate, step: str, agent: Entity) -> Entity:
    """Add the run of one step with all that it refers to; return a reference to it."""
    manifest = crate.book.manifests[step]
    ran, counts = manifest["environment"], {name: number for name, number in manifest["counts"].items() if number}
    failed = len(manifest["failures"])
    results, objects = _outputs(crate, step), _objects(crate, step)
    record = crate.file(f"{crate.book.folder}/manifests/{step}.json", f"manifest of {step}")
    counted = f"Counted: {', '.join(f'{number:,.0f} {name}' for name, number in counts.items())}. " if counts else ""
    hardware = ", ".join([ran.get("processor") or "an unknown processor", f"{ran.get('cores')} cores", *(ran.get("gpus") or [])])
    values: Entity = {
        "name": step,
        "description": f"{counted}{manifest['seconds']:.1f} s on {hardware}; "
        f"engine {ran.get('engine') or 'unknown'}, stack {ran.get('stack') or 'unknown'}, Python {ran.get('python')}, commit {ran.get('git_commit') or 'unknown'}.",
        "instrument": _instrument(crate, manifest), "agent": agent, "startTime": manifest["started"], "endTime": manifest["finished"],
        "actionStatus": f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus", "object": objects, "result": results, "subjectOf": record,
    }  # fmt: skip
    if failed:
        values["error"] = f"{failed} of {manifest['counts'].get('topics')} topics failed; the manifest has the reasons."
    if ran.get("image"):
        values["containerImage"] = _image(crate, str(ran["image"]), str(ran.get("engine", "")))
    if ran.get("threads"):
        values["environment"] = [crate.add(f"#OMP_NUM_THREADS={ran['threads']}", "PropertyValue", name="OMP_NUM_THREADS", value=str(ran["threads"]))]
    return crate.add(f"#run-{step}", "CreateAction", **values)


def _is_folded(manifest: Mapping[str, Any]) -> bool:
    """Return whether a step wrote a file for each topic."""
    return "done" in manifest["counts"]


def _outputs(crate: _Crate, step: str) -> list[Entity]:
    manifest = crate.book.manifests[step]
    if not _is_folded(manifest):
        return [crate.file(path) for path in manifest["outputs"]]
    folders: dict[str, dict[str, str]] = {}
    for path, digest in manifest["outputs"].items():
        folders.setdefault(str(PurePosixPath(path).parent), {})[path] = digest
    return [crate.set_of(step, folder, files) for folder, files in folders.items()]


def _objects(crate: _Crate, step: str) -> list[Entity]:
    """Return what a step read: files, sets of files that another step wrote, and its seed."""
    manifest, makers = crate.book.manifests[step], crate.makers
    found: dict[str, Entity] = {}
    outside: dict[str, dict[str, str]] = {}
    read = {path: digest for path, digest in manifest["depends_on"]["inputs"].items() if digest is not None}
    folded = {maker: None for maker in map(makers.get, read) if maker is not None and _is_folded(crate.book.manifests[maker])}
    for entity in (entity for maker in folded for entity in _outputs(crate, maker)):
        found[entity["@id"]] = entity
    for path in (path for path in read if makers.get(path) not in folded):
        if crate.inside(path) is not None and path not in left_out(manifest):
            entity = crate.file(path)
            found[entity["@id"]] = entity
        else:
            outside.setdefault(str(PurePosixPath(path).parent), {})[path] = read[path]
    for folder, files in outside.items():
        entity = crate.source(folder, files, manifest.get("models", {}).get(folder))
        found[entity["@id"]] = entity
    seed = manifest["definition"]["seed"]
    return [*found.values(), crate.add(f"#seed-{seed}", "PropertyValue", name="seed", value=str(seed))]


def _instrument(crate: _Crate, manifest: Mapping[str, Any]) -> Entity:
    """Add the stage and its packages."""
    ran, code, lock = manifest["environment"], manifest["depends_on"]["code"], manifest["depends_on"]["lock"]
    packages = ", ".join(f"{name} {version}" for name, version in ran.get("packages", {}).items())
    needs = crate.add(
        f"#lock-{ran['env']}-{lock[:12]}", "CreativeWork", name=f"packages of {ran['env']}, stack {ran.get('stack') or 'unknown'}", identifier=f"sha256:{lock}",
        description=f"The SHA-256 of the lock that names every package with its hashes, among them {packages or 'none of note'}.",
    )  # fmt: skip
    module = manifest.get("command", [manifest["step"]])[0]
    return crate.add(f"#{module}-{code[:12]}", "SoftwareApplication", name=module, softwareVersion=code, softwareRequirements=needs)


def _image(crate: _Crate, image: str, engine: str) -> Entity:
    kind = "SIFImage" if engine == "apptainer" else "DockerImage"
    digest = {"sha256": image.removeprefix("sha256:")} if image.startswith("sha256:") else {}
    return crate.add(f"#image-{quote(image)}", "ContainerImage", name=image, additionalType={"@id": _RUN_TERMS + kind}, **digest)
