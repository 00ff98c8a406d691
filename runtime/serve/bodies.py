"""The bodies of requests, as OpenAI's API has them, and ours where it has nothing: checked, with the field named that
is wrong. What a field would have to do here and cannot is refused, never passed over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

TOKEN_KEY = r"^[0-9]{1,9}$"
FUNCTION_NAME = r"^[A-Za-z0-9_.-]{1,64}$"
Id = Annotated[int, Field(ge=0, lt=1 << 31)]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Count = Annotated[int, Field(ge=1, lt=1 << 31)]


def _kind(value: Any) -> str | None:
    """Which of several types a value is meant to be, so that errors are about that one alone."""
    kinds = {str: "<text>", list: "<list>", dict: "<object>", bool: "<bool>"}
    return kinds.get(type(value))


def _prompt_kind(value: Any) -> str | None:
    first = value[0] if isinstance(value, list) and value else None
    if first is None or isinstance(first, str):
        return _kind(value)
    return "<lists>" if isinstance(first, list) else "<ids>"


Text = Annotated[str, Tag("<text>")]
Schema = Annotated[
    Annotated[dict[str, Any], Tag("<object>")] | Annotated[bool, Tag("<bool>")],
    Discriminator(_kind, custom_error_type="no_schema", custom_error_message="give a JSON schema, an object"),
]
Texts = Annotated[
    Text | Annotated[list[str], Tag("<list>")],
    Discriminator(_kind, custom_error_type="no_texts", custom_error_message="give a text or a list of texts"),
]
Stops = Annotated[
    Text | Annotated[list[Annotated[str, Field(min_length=1)]], Tag("<list>")],
    Discriminator(_kind, custom_error_type="no_texts", custom_error_message="give a text or a list of texts"),
]
Prompt = Annotated[
    Text
    | Annotated[list[str], Tag("<list>")]
    | Annotated[list[Id], Tag("<ids>")]
    | Annotated[list[list[Id]], Tag("<lists>")],
    Discriminator(
        _prompt_kind,
        custom_error_type="no_prompt",
        custom_error_message="give a text, a list of texts, a list of token ids, or a list of such lists",
    ),
]


class Body(BaseModel):
    """Exact types, no unknown fields, no NaN. A field that is null is as one that is not there, whatever its name: so
    clients dump their objects."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool = False


class Structured(Body):
    """What the answer's text may be: one of these."""

    json_schema: Schema | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


class Generating(Body):
    """What completions and chat completions have in common. `top_k` and all that follows it are not OpenAI's."""

    model: str | None = None
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stops | None = None
    seed: Seed | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[Annotated[str, Field(pattern=TOKEN_KEY)], Bias] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None
    min_p: float | None = Field(default=None, ge=0, le=1)
    min_tokens: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    stop_token_ids: list[Id] | None = None
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100)
    allowed_token_ids: list[Id] | None = Field(default=None, min_length=1)
    bad_words: list[Annotated[str, Field(min_length=1)]] | None = None
    ignore_eos: bool | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    timeout: float | None = Field(default=None, gt=0)
    structured_outputs: Structured | None = None


class CompletionBody(Generating):
    """`POST /v1/completions`."""

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, lt=1 << 31)] | None = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Count | None = None
    suffix: str | None = None


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


Content = Annotated[
    Text | Annotated[list[TextPart], Tag("<list>")],
    Discriminator(_kind, custom_error_type="no_content", custom_error_message="give a text or a list of parts"),
]


class CalledFunction(Body):
    """The function of a tool call; `arguments` is JSON as text."""

    name: str
    arguments: str


class ToolCall(Body):
    """A call that an assistant's message holds."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None


class FunctionDefinition(Body):
    """A function that the model may call; `parameters` is a JSON schema of an object."""

    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(Body):
    """Which function."""

    name: str


class ToolChoice(Body):
    """The tool that is to be called."""

    type: Literal["function"]
    function: NamedFunction


Choosing = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<text>")] | Annotated[ToolChoice, Tag("<object>")],
    Discriminator(
        _kind,
        custom_error_type="no_choice",
        custom_error_message="give 'none', 'auto', 'required', or the function to call, an object",
    ),
]


class JSONSchema(Body):
    """A JSON schema that the answer keeps to."""

    name: str = "answer"
    description: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None


class ChatBody(Generating):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Choosing | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None


class TokenizeBody(Body):
    """`POST /tokenize`: ids of a text, or of a conversation as the model would be given it."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool = True


class DetokenizeBody(Body):
    """`POST /detokenize`."""

    model: str | None = None
    tokens: list[Id]


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    model: str | None = None
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    user: str | None = None


class ProgramBody(Body):
    """`POST /programs/NAME`: `inputs` are checked against the program's types; `model` may name an adapter."""

    inputs: dict[str, Any] = Field(default_factory=dict)
    model: str | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    stream: bool = False
    timeout: float | None = Field(default=None, gt=0)
