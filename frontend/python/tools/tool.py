"""`Tool`: a function that a model may ask for, with the name, description and argument schema that it is shown."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar, get_args, overload

from lampc.frontend.python.callbacks import active, telling
from lampc.frontend.python.collect import declared
from lampc.frontend.python.frames import here
from lampc.frontend.python.serials import serials
from lampc.ir.runner import ToolRunner, find_runner
from lampc.ir.types import ANY
from lampc.ir.types import Type as IRType

_F = TypeVar("_F", bound=Callable[..., Any])


def pure(function: _F) -> _F:
    """Declare that a function has no effect and depends on its arguments only: calls may be merged or moved."""
    function.__lampc_effect__ = "pure"  # type: ignore[attr-defined]
    return function


def unordered(function: _F) -> _F:
    """Declare that the order of calls of a function does not matter."""
    function.__lampc_effect__ = "unordered"  # type: ignore[attr-defined]
    return function


def effect_of(function: Any) -> str:
    """`pure`, `unordered` or `effect` (what is not declared)."""
    return str(getattr(inspect.unwrap(function), "__lampc_effect__", "effect"))


class Tool:
    """A tool out of a function or callable object, sync or async.

    What is not given is read from the function: `args` (JSON schema by argument), `arg_types` (Python type by
    argument), `desc` from its docstring; `arg_desc` adds descriptions to the schemas. Calls take arguments by name
    or position, check them against `args` and cast them to `arg_types`: ValueError says which one is wrong.
    `blocking` says that the function waits for the outside (a network, a disk): rows of a batch then do not wait
    for each other. What it may do besides returning a value is declared on the function: `@lampc.pure` or
    `@lampc.unordered`.
    """

    __ir_type__: ClassVar[IRType] = ANY
    __prompt_form__: ClassVar[str] = "custom"

    def __init__(
        self,
        func: Callable[..., Any],
        name: str | None = None,
        desc: str | None = None,
        args: dict[str, Any] | None = None,
        arg_types: dict[str, Any] | None = None,
        arg_desc: dict[str, str] | None = None,
        *,
        blocking: bool = False,
    ) -> None:
        if not callable(func):
            raise TypeError(f"a tool is made out of a function or another callable, not {func!r}")
        self.func = func
        self._code = func if inspect.isfunction(func) or inspect.ismethod(func) else func.__call__  # type: ignore[operator]
        self.name = name or str(getattr(func, "__name__", type(func).__name__))
        self.desc = desc or getattr(func, "__doc__", None) or getattr(self._code, "__doc__", None)
        self.arg_desc = arg_desc
        self._given = args, arg_types
        self.blocking = blocking
        self.effect = effect_of(func)
        self.serial = next(serials)
        self.loc = here()
        if inspect.isfunction(func):
            functools.update_wrapper(self, func)

    # -- what a model is shown ------------------------------------------------------------------------------

    @functools.cached_property
    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from lampc.frontend.python.tools.schema import parameters

        schemas, types = self._given
        if schemas is not None and types is not None:
            return schemas, types
        found_schemas, found_types = parameters(self._code, self.arg_desc or {})
        return found_schemas if schemas is None else schemas, found_types if types is None else types

    @property
    def args(self) -> dict[str, Any]:
        """JSON schema by argument."""
        return self._read[0]

    @property
    def arg_types(self) -> dict[str, Any]:
        """Python type by argument."""
        return self._read[1]

    @functools.cached_property
    def has_kwargs(self) -> bool:
        """Whether it takes arguments of any name."""
        spec = inspect.signature(self._code).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in spec)

    @functools.cached_property
    def is_async(self) -> bool:
        """Whether its function is a coroutine function."""
        return inspect.iscoroutinefunction(self.func) or inspect.iscoroutinefunction(self._code)

    def format(self) -> str:
        """Its text in a prompt."""
        return str(self)

    def format_as_litellm_function_call(self) -> dict[str, Any]:
        """Its declaration in the form of OpenAI's function calls."""
        required = [name for name, schema in self.args.items() if "default" not in schema]
        parameters = {"type": "object", "properties": self.args, "required": required}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.desc, "parameters": parameters},
        }

    def __repr__(self) -> str:
        return f"Tool(name={self.name}, desc={self.desc}, args={self.args})"

    def __str__(self) -> str:
        said = f", whose description is <desc>{self.desc}</desc>.".replace("\n", "  ") if self.desc else "."
        return f"{self.name}{said} It takes arguments {self.args}."

    # -- calls ----------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Its result. An async function is run to its end; where a loop runs in this thread, `acall` is for that."""
        given = self.by_name(args, kwargs)
        if told := active(self):
            with telling("tool", self, {"kwargs": given}, told) as end:
                end.outputs = out = self._called(given)
            return out
        return self._called(given)

    def _called(self, given: dict[str, Any]) -> Any:
        at = find_runner()
        if isinstance(at, ToolRunner):
            return at.tool(self.name, self.effect, self._runnable, (), given)
        return self.run(given)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Its result, in a running loop; a function that is not async is called as it is."""
        given = self.by_name(args, kwargs)
        with telling("tool", self, {"kwargs": given}, active(self)) as end:
            result = self.func(**self._arguments.parsed(given))
            end.outputs = await result if inspect.isawaitable(result) else result
        return end.outputs

    @functools.cached_property
    def _arguments(self) -> Any:
        from lampc.frontend.python.tools.schema import Arguments

        return Arguments(self.args, self.arg_types, self.has_kwargs)

    @functools.cached_property
    def _runnable(self) -> Callable[..., Any]:
        """What a runner calls: it carries the function's identity, and whether it blocks."""

        def run(**given: Any) -> Any:
            return self.run(given)

        inner = self._code
        if inspect.ismethod(inner):
            inner = inner.__func__
        if inspect.isfunction(inner):
            functools.update_wrapper(run, inner)
        else:
            run.__module__, run.__qualname__ = type(self.func).__module__, self.name
        run.__lampc_called__ = self.func  # type: ignore[attr-defined]
        run.__lampc_blocking__ = self.blocking or self.is_async  # type: ignore[attr-defined]
        return run

    def run(self, given: Mapping[str, Any]) -> Any:
        """Check and cast arguments and call the function, without asking any runner. Raises ValueError, and whatever
        the function raises."""
        result = self.func(**self._arguments.parsed(given))
        if not inspect.iscoroutine(result):
            return result
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(result)
        result.close()
        raise ValueError(
            f"tool `{self.name}` is async and an event loop is running in this thread: `await tool.acall(...)` instead"
        )

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by their names. Raises TypeError for too many, or one given twice."""
        if not args:
            return dict(kwargs)
        names = list(self.args)
        if len(args) > len(names):
            raise TypeError(f"tool `{self.name}` takes {len(names)} arguments ({', '.join(names)}), not {len(args)}")
        if twice := [n for n in names[: len(args)] if n in kwargs]:
            raise TypeError(f"tool `{self.name}` was given `{twice[0]}` twice")
        return {**dict(zip(names, args, strict=False)), **kwargs}

    # -- as the type of a field: `tools: list[lampc.Tool]` ---------------------------------------------------

    @classmethod
    def description(cls) -> str:
        return ""

    @classmethod
    def extract_custom_type_from_annotation(cls, annotation: Any) -> list[type]:
        found = [annotation] if isinstance(annotation, type) and issubclass(annotation, cls) else []
        return found + [t for a in get_args(annotation) for t in cls.extract_custom_type_from_annotation(a)]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        text = core_schema.plain_serializer_function_ser_schema(str)
        return core_schema.is_instance_schema(cls, serialization=text)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tool:
        return self  # nothing in it changes, and a function is copied as itself

    # -- tools of elsewhere ---------------------------------------------------------------------------------

    @classmethod
    def from_mcp_tool(cls, session: Any, tool: Any, *, result_mode: Literal["text", "structured"] = "text") -> Tool:
        """The tool of an MCP server. `session` is any client with an async `call_tool`.

        `structured` gives a result's structured content where there is any. Raises ValueError for another mode.
        A session that was opened in an event loop is used in that loop, also by calls from other threads.
        """
        from lampc.frontend.python.tools.foreign import OnItsLoop, mcp_tool

        return mcp_tool(OnItsLoop(session), tool, result_mode, blocking=True)

    @classmethod
    def from_langchain(cls, tool: Any) -> Tool:
        """A tool of LangChain: any object with `name`, `description`, `args_schema` and `ainvoke`."""
        from lampc.frontend.python.tools.foreign import langchain_tool

        return langchain_tool(tool)


@overload
def tool(function: Callable[..., Any], *, name: str = "", blocking: bool = False) -> Tool: ...
@overload
def tool(*, name: str = "", blocking: bool = False) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(function: Callable[..., Any] | None = None, *, name: str = "", blocking: bool = False) -> Any:
    """Declare a tool: `@lampc.tool` or `@lampc.tool(blocking=True)`, over `@lampc.pure` if it has no effect."""
    if function is None:
        return lambda f: tool(f, name=name, blocking=blocking)
    made = Tool(function, name or None, blocking=blocking)
    declared(made)
    return made
