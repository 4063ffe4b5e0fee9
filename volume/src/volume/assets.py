"""Fetches what a dataset needs that no stage makes: models, the knowledge base, the verifier, data of libraries.

    python -m volume.assets --dataset bio --data-dir data                 fetch what is missing; killed, it goes on where it was
    python -m volume.assets --dataset bio --data-dir data --offline       only look: ok, missing or wrong, and the remedy
    python -m volume.assets --dataset bio --data-dir data --checkout DIR  also the public code's own prompts, from a checkout of it

Exit status: 0 all is here, 1 something could not be fetched, 2 something is missing (--offline), the disk is too small, or wrong usage.
HF_ENDPOINT, HF_TOKEN and HF_TOKEN_PATH mean what they mean to the hub's own tools. Standard library only.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from volume.asset_fetch import Fetcher, State, look
from volume.asset_list import LIST, PROMPTS, Asset, find_wanted, read_list
from volume.asset_lock import AssetLock
from volume.datasets import load_definition
from volume.downloads import Patience, RefusedError
from volume.errors import COMPLETE, FAILED, USAGE, VolumeError, tell_errors
from volume.files import hold_alone
from volume.hub import open_hub


def main(argv: list[str] | None = None) -> int:
    """Fetch or look; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.assets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", required=True, help="a dataset, or the path of a .toml file")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--offline", action="store_true", help="only look at what is there: no network")
    parser.add_argument("--checkout", type=Path, help="a checkout of the public code, to import its prompts from")
    parser.add_argument("--every-model", action="store_true", help="also models that only extra runs use (the other rows of the paper's tables), or none")
    parser.add_argument("--list", type=Path, default=LIST, help="another list of assets, e.g. with a site's mirrors")
    parser.add_argument("--pause", type=float, default=1.0, metavar="SECONDS", help="after a download that broke off; doubled each time")
    given = parser.parse_args(argv)
    return tell_errors(lambda: _offline(given) if given.offline else _fetch(given))


def _wanted(given: argparse.Namespace) -> list[Asset]:
    listed = read_list(given.list)
    definition = load_definition(given.dataset)
    wanted = find_wanted(definition, listed, given.every_model)
    places = {asset.name: asset.dest for asset in wanted}
    wanted = [dataclasses.replace(asset, base=places.get(asset.base, ""), difference=places.get(asset.difference, "")) for asset in wanted]
    if PROMPTS in listed and (given.checkout or definition.name.partition("-")[0] in ("bio", "medqa")):
        wanted.append(listed[PROMPTS])
    return wanted


def _looked(wanted: list[Asset], data_dir: Path, lock: AssetLock) -> dict[str, State]:
    """Return how every asset stands; of what is already built, the parts are not asked for."""
    states = {asset.dest: look(asset, data_dir, lock) for asset in wanted if asset.kind == "difference"}
    built = {part for asset in wanted if asset.kind == "difference" and states[asset.dest].ok for part in (asset.base, asset.difference)}
    for asset in wanted:
        if asset.dest not in states:
            spent = asset.part and asset.dest in built
            states[asset.dest] = State({}, [], []) if spent else look(asset, data_dir, lock)
    return states


def _offline(given: argparse.Namespace) -> int:
    data_dir = given.data_dir.resolve()
    lock = AssetLock(data_dir)
    wanted = _wanted(given)
    states = _looked(wanted, data_dir, lock)
    bad = 0
    for asset in wanted:
        state = states[asset.dest]
        what, remedy = _verdict(asset, state)
        bad += bool(remedy) and not asset.optional
        print(f"{what:8} {asset.dest}" + (f" ({asset.source})" if asset.source else "") + (f"\n         {remedy}" if remedy else ""))
    print(f"{len(wanted)} assets of '{given.dataset}': " + (f"{bad} to be had or mended." if bad else "all that a run needs is here."))
    return USAGE if bad else COMPLETE


def _verdict(asset: Asset, state: State) -> tuple[str, str]:
    """Return ok, missing or wrong, and what to do about it."""
    maybe = "optional; " if asset.optional else ""
    if state.wrong:
        return "wrong", f"{maybe}{'; '.join(state.wrong)}. Move it away and run `make assets`."
    if state.missing:
        kept = len(state.files) - len(state.missing)
        some = f"{len(state.missing)} of {len(state.files)} files: {', '.join(state.missing[:3])}{', …' if len(state.missing) > 3 else ''}. " if kept > 0 else ""
        gate = f" First accept {asset.gate} on its page and give the account's token in HF_TOKEN." if asset.gate else ""
        get = f"`make assets` imports it from a checkout of {asset.revision[:7]} (--checkout)." if asset.kind == "checkout" else "`make assets` fetches it."
        how = asset.instead if asset.kind == "own" else f"{get}{gate}" + (f" Instead: {asset.instead}." if asset.instead else "")
        return "missing", f"{maybe}{some}{how}"
    return "ok", ""


def _fetch(given: argparse.Namespace) -> int:
    data_dir = given.data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    wanted = _wanted(given)
    patience = Patience(pause=given.pause)
    hub = open_hub(patience)
    with hold_alone(data_dir / ".assets-held", f"another `make assets` is writing into {data_dir}; run this again when it is done."):
        lock = AssetLock(data_dir)
        fetcher = Fetcher(data_dir, lock, hub, patience, given.checkout)
        states = _looked(wanted, data_dir, lock)
        left = [asset for asset in wanted if not states[asset.dest].ok and not (asset.name == PROMPTS and given.checkout is None)]
        if not left:
            files = sum(len(state.files) for state in states.values())
            print(f"Everything for '{given.dataset}' is here: {len(wanted)} assets, {files} files with the right bytes. Nothing to do.")
            return COMPLETE
        failed = _try_all(left, states, fetcher)
    _tell_end(wanted, failed, states, data_dir, given)
    return FAILED if any(not asset.optional for asset in failed) else COMPLETE


def _try_all(left: list[Asset], states: dict[str, State], fetcher: Fetcher) -> list[Asset]:
    """Fetch all that can be had; return what could not."""
    failed: list[Asset] = []
    for asset in left:
        try:
            states[asset.dest] = fetcher.resolve(asset, states[asset.dest])
        except VolumeError as error:
            failed.append(asset)
            print(advise(asset, error, fetcher), flush=True)
    going = [asset for asset in left if asset not in failed]
    fetcher.check_disk(sum(fetcher.needed(asset, states[asset.dest]) for asset in going))
    for asset in going:
        blocked = [other.dest for other in failed if other.dest in (asset.base, asset.difference)]
        print(f"{asset.dest}: {asset.source or asset.name}" + (f"; licence: {asset.licence}" if asset.licence else ""), flush=True)
        try:
            if blocked:
                raise VolumeError(f"{asset.dest} is built from {blocked[0]}, which could not be fetched.")
            fetcher.get(asset, states[asset.dest])
        except VolumeError as error:
            failed.append(asset)
            print(advise(asset, error, fetcher), flush=True)
    return failed


def advise(asset: Asset, error: VolumeError, fetcher: Fetcher) -> str:
    """Return what went wrong with an asset, and what can be done about it."""
    lines = [f"{'not fetched (optional)' if asset.optional else 'NOT FETCHED'}: {asset.dest}: {error}"]
    if asset.kind == "own":  # the error says all there is to say
        return lines[0]
    code = error.code if isinstance(error, RefusedError) else None
    page = f"{fetcher.hub.endpoint}/{asset.source}"
    if asset.kind == "hub" and code in (401, 403):
        held = "a token was sent" if fetcher.hub.token else "no token was sent"
        gate = f"accept {asset.gate} at {page}" if asset.gate else f"see at {page} whether a licence must be accepted there, or whether the name is right"
        lines.append(f"remedy: {gate}, with the account whose token is in HF_TOKEN, or in the file that HF_TOKEN_PATH names ({held})")
    elif code in (404, 410):
        where = f"; look at {page}" if asset.kind == "hub" else ""
        lines.append(f"remedy: the link is dead, or the revision {asset.revision or 'main'} is gone{where}")
    elif code == 200 and asset.kind == "file":
        lines.append(f"remedy: Google Drive does so where too many have fetched a file lately, or it is gone: try again in a day, or put the file into {asset.dest}")
    return "\n  ".join([*lines, *([f"instead: {asset.instead}"] if asset.instead else [])])


def _tell_end(wanted: list[Asset], failed: list[Asset], states: dict[str, State], data_dir: Path, given: argparse.Namespace) -> None:
    for asset in wanted:
        source = data_dir / asset.difference
        if asset.kind == "difference" and asset not in failed and source.exists():
            print(f"{asset.dest} is built; {source} is not needed any more and may be deleted.")
    needed = [asset.dest for asset in failed if not asset.optional]
    if needed:
        print(f"Still missing for '{given.dataset}': {', '.join(needed)}. What was fetched is kept; run the same command again to go on.")
    else:
        print(f"All that '{given.dataset}' needs is in {data_dir}; sizes and SHA-256 are in assets.lock.json.")


if __name__ == "__main__":
    raise SystemExit(main())
