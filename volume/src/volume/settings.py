"""The typed settings of a dataset definition: one frozen dataclass per section of its TOML file.

A field without a default must be given. Units are in the comments; the values of the paper's experiments stand in the
datasets' own files, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from volume.training_settings import DpoSettings, OptimSettings, PretrainSettings, TrackingSettings

# How a language-model service is asked: replies are recorded; only recorded ones are used; recorded ones are asked for again.
Mode = Literal["record", "replay", "refresh"]


@dataclass(frozen=True)
class ModelSettings:
    """A language model that stages sample from or train."""

    path: str  # folder below the dataset's (made by a stage) or below <data-dir> (downloaded)
    source: str = ""  # where it comes from: a hub id, for the list of what is missing
    revision: str = ""  # pinned revision of the source
    dtype: str = "float32"  # float32 | bfloat16 | float16
    chat: bool = False  # prompts take the form of the chat template that its tokenizer brings
    gib: float = 0.0  # size of its weights, GiB
    device_map: str = ""  # "": on one device | auto | balanced | sequential: its layers shared out over the cards


@dataclass(frozen=True)
class SamplingSettings:
    """How texts are drawn from a model."""

    model: str  # a name under [models]
    n: int  # samples per prompt
    max_new_tokens: int
    backend: str = "transformers"  # transformers | openai
    served: str = ""  # `openai`: the server's name of the model; else its source, or its name here
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    stop: tuple[str, ...] = ()  # text is cut before the first of these
    prefix: str = ""  # few-shot examples before the prompt
    prompt: str = "{question}"  # form of the prompt
    batch_rows: int = 256  # sequences side by side; halved where memory does not hold them
    samples_per_call: int = 1  # `openai`: asked for by one call at most (its `n`), for which the prompt is paid once
    topics_at_once: int = 32  # topics whose prompts are batched together; finished and kept together too


@dataclass(frozen=True)
class KnowledgeSettings:
    path: str  # SQLite file documents(title, text), below the dataset's folder or below <data-dir>
    gib: float = 0.0
    redirects: str = ""  # JSON file {"other title": "title"}, below the same folder as `path`


@dataclass(frozen=True)
class TopicsSettings:
    """The list that a dataset's topics and questions come from; without it they are given as files on the volume."""

    path: str  # CSV: one that comes with the project, one beside the definition, or one below <data-dir>
    prompt: str = ""  # the question about a topic, where the list has none of its own: "Write a short biography of {topic}."
    splits: dict[str, float] = field(default_factory=dict)  # topics of train, val and test: counts, or shares below 1; {}: the paper's shares
    dpoval: float = 10  # topics whose pairs training is measured on, and not trained on
    questions: int = 0  # per topic, written by a service where the list has none
    model: str = ""  # the service's model that writes them
    temperature: float = 1.0
    max_tokens: int = 512  # of a reply


@dataclass(frozen=True)
class LlmSettings:
    """The OpenAI-compatible service that the `llm` and `openai` backends ask: where it is and how hard it may be asked.

    None of it changes a reply, so none of it makes a step stale.
    """

    base_url: str = "https://api.openai.com/v1"
    in_flight: int = 256  # calls at once
    requests_per_minute: float = 0.0  # 0: no limit
    tokens_per_minute: float = 0.0  # prompt and reply together; 0: no limit
    input_price: float = 0.0  # US dollars per million prompt tokens
    output_price: float = 0.0  # US dollars per million tokens of replies
    timeout_s: float = 120.0  # seconds for one attempt
    attempts: int = 8  # per call, before it counts as failed
    backoff_s: float = 1.0  # first pause after a failed attempt, doubled each time, with jitter


@dataclass(frozen=True)
class FactsSettings:
    backend: str  # grammar | llm | rules
    model: str = ""  # the service's model, for `llm`
    temperature: float = 0.0  # of the extraction, for `llm`
    max_tokens: int = 512  # of a reply, for `llm`
    gamma: int = 10  # facts below which the length penalty of FActScore acts


@dataclass(frozen=True)
class RetrievalSettings:
    backend: str  # bm25 | gtr
    model: str = ""  # a name under [models], for `gtr`
    k: int = 5  # passages per fact


@dataclass(frozen=True)
class VerifierSettings:
    backend: str  # lexical | llm | local
    model: str = ""  # `local`: a name under [models]; `llm`: the service's model
    temperature: float = 0.0  # for `llm`
    max_tokens: int = 16  # of a reply, for `llm`
    passage_order: str = "rank"  # rank (best last, as in the public code) | page (facts share more of their prompts)
    npm: bool = False  # AND with the nonparametric masked language model
    npm_model: str = ""  # its name under [models]


@dataclass(frozen=True)
class QuestionsSettings:
    backend: str  # grammar | llm | rules
    model: str = ""  # the service's model, for `llm`
    temperature: float = 0.0  # for `llm`
    max_tokens: int = 96  # of a reply, for `llm`
    context: int = 0  # facts of the same response, before this one, that are shown with it, for `llm`
    examples: str = ""  # file below <data-dir> with the public code's prompt in place of ours (`make assets CHECKOUT=…`), for `llm`


@dataclass(frozen=True)
class EntitiesSettings:
    enabled: bool = False
    backend: str = "grammar"  # grammar | spacy
    spans: str = "entities"  # what is resampled, for `spacy`: entities | noun_chunks | both
    model: str = "spacy/en_core_web_sm"  # folder of a spaCy model below <data-dir>; where it is not there, rules find the spans
    n: int = 20  # samples per entity
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens


@dataclass(frozen=True)
class EquivalenceSettings:
    backend: str = "words"  # words | suffix | llm
    model: str = ""  # the service's model, for `llm`
    temperature: float = 0.0  # for `llm`
    max_tokens: int = 8  # of a reply, for `llm`


@dataclass(frozen=True)
class RewardsSettings:
    max_missing: int = 0  # topics that may lack an input file
    detail_weight: float = 0.3  # of log(1 + supported facts) in factscore_detail_avg
    flipped: tuple[float, ...] = ()  # shares of the verdicts: a reward factscore_flip05_avg for 0.05, as if the judge erred so often
    module: str = ""  # Python file below <data-dir> with rewards of one's own


@dataclass(frozen=True)
class DecoderSettings:
    """How a policy's next token is chosen, other than by its own probabilities."""

    kind: str  # dola: the last layer against an earlier one | iti: attention heads shifted towards what true facts have in common
    layers: str = "high"  # dola: the earlier ones, every second of the lower (low) or of the upper half (high), or numbers: "0,2,4"
    alpha: float = 0.1  # dola: no token below this share of the most probable one's probability
    repetition_penalty: float = 1.0  # dola: above 1, tokens that stand there already lose; 1: none
    heads: int = 48  # iti: heads that are shifted, those whose probes are most often right
    strength: float = 15.0  # iti: size of the shift, in standard deviations of a head's outputs along it


@dataclass(frozen=True)
class RelevanceSettings:
    """Whether evaluated facts have to do with the question: one that does not is not counted as correct."""

    backend: str = "llm"
    model: str = ""  # the service's model
    temperature: float = 0.0
    max_tokens: int = 8  # of a reply


@dataclass(frozen=True)
class RunSettings:
    """One policy: where it comes from, how it decodes, and its name in the report."""

    label: str
    reward: str = ""  # key in the rewards file; empty: no preference training
    kind: str = "dpo"  # base | sft | dpo | decode: another run's policy, by a decoder
    model: str = ""  # a name under [models], what it is or is tuned from; empty: that of its start, else that of [responses]
    start: str = ""  # the run that it goes on from; empty: the first of kind `sft` of the same model
    decoder: str = ""  # a name under [decoders]; empty: by the policy's own probabilities
    extra: bool = False  # only where RUNS or `make paper` asks for it


@dataclass(frozen=True)
class EvalSettings:
    split: str = "test"
    n: int = 4  # sampled responses per question at `temperature`
    temperature: float = 1.0
    greedy: bool = True
    bootstrap: int = 2000  # resamples of the 95 % intervals
    select: str = "val"  # split on which one of [dpo] candidates is chosen
    keep_correct: float = 0.9  # share of SFT's correct facts that a candidate must keep to be chosen
    more_empty: float = 2.0  # percentage points by which its empty responses may exceed SFT's
    calibrated: tuple[str, ...] = ()  # runs that are asked back about their own greedy responses: whether their confidence still means something


@dataclass(frozen=True)
class WorldSettings:
    """The generated world of `synth`."""

    people: int = 600
    scale: float = 1.0  # multiplies people, model width and steps
    style: float = 0.20  # shares of people
    dpoval: float = 0.03
    val: float = 0.05
    test: float = 0.30
    obscure: float = 0.35  # share of (person, attribute) cells that documents seldom mention
    mention: float = 0.75  # probability that a document states an ordinary fact
    mention_obscure: float = 0.12
    vague: float = 0.15  # share of the facts left out of a document that appear as the vague form
    style_state: float = 0.65  # house style: share of attributes stated
    style_vague: float = 0.60  # house style: share of the rest given as vague
    exposure_power: float = 0.7  # weight of the person of rank r: (1 + r) ** -power
    absent: float = 0.10  # share of facts that the knowledge base lacks
    stale: float = 0.02  # share of facts that it contradicts
    questions: float = 0.30  # share of documents that ask and answer questions
    shuffled: float = 0.20  # share of documents in free order


@dataclass(frozen=True)
class Definition:
    """A dataset definition, resolved: every setting has its value."""

    name: str
    description: str
    splits: tuple[str, ...]
    seed: int = 0
    device: str = "auto"  # auto: a GPU where there is one | cpu | portable: on the CPU as all x86-64 ones with AVX2 calculate alike, half as fast
    models: dict[str, ModelSettings] = field(default_factory=dict)
    world: WorldSettings | None = None
    topics: TopicsSettings | None = None
    knowledge: KnowledgeSettings | None = None
    llm: LlmSettings = field(default_factory=LlmSettings)
    completions: LlmSettings | None = None  # the server of the `openai` samplers, where it is another than [llm]; its key is COMPLETIONS_API_KEY
    responses: SamplingSettings | None = None
    facts: FactsSettings | None = None
    retrieval: RetrievalSettings | None = None
    verifier: VerifierSettings | None = None
    questions: QuestionsSettings | None = None
    answers: SamplingSettings | None = None
    entities: EntitiesSettings = field(default_factory=EntitiesSettings)
    equivalence: EquivalenceSettings = field(default_factory=EquivalenceSettings)
    rewards: RewardsSettings = field(default_factory=RewardsSettings)
    pretrain: PretrainSettings | None = None
    style: OptimSettings | None = None
    sft: OptimSettings | None = None
    dpo: DpoSettings | None = None
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    decoders: dict[str, DecoderSettings] = field(default_factory=dict)
    runs: dict[str, RunSettings] = field(default_factory=dict)
    judges: dict[str, VerifierSettings] = field(default_factory=dict)  # judge the evaluated facts once more; they reward nothing
    relevance: RelevanceSettings | None = None
    eval: EvalSettings = field(default_factory=EvalSettings)
