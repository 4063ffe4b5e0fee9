"""Opens the services that the stages of this package ask: the chat model of [llm], and the samplers' server of [completions]."""

from __future__ import annotations

import os

from volume.context import Context
from volume.llm import Client
from volume.requirements import COMPLETIONS_KEY, read_key


def open_client(ctx: Context) -> Client:
    """Return the client of [llm], with the dataset's recorded calls.

    Raises:
        UsageError: A setting with which no call could be made.
    """
    store, definition = ctx.data_dir / "llm_calls.sqlite", ctx.definition
    return Client(store, definition.llm, ctx.llm_mode, dataset=definition.name, max_cost=ctx.max_cost, key=read_key(), log=ctx.log)


def open_sampling_client(ctx: Context) -> Client:
    """Return the client of [completions], or of [llm] where the definition names no other server for samples.

    Raises:
        UsageError: A setting with which no call could be made.
    """
    own = ctx.definition.completions
    if own is None:
        return open_client(ctx)
    # The key of [llm] is no other server's business. One's own has no prices, and a cap on money would refuse it.
    max_cost = ctx.max_cost if own.input_price or own.output_price else None
    store, key = ctx.data_dir / "llm_calls.sqlite", os.environ.get(COMPLETIONS_KEY)
    return Client(store, own, ctx.llm_mode, dataset=ctx.definition.name, max_cost=max_cost, key=key, log=ctx.log)
