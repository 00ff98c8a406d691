"""Small programs in IR text, one for each thing that an executor must get right."""

from __future__ import annotations

from lampc.ir import Module, check, parse_module

SIGNATURE = (
    '#signature<inputs = [#field<name = "text", type = !str>], '
    'outputs = [#field<name = "label", type = !str>], instruction = "Label it.">'
)
PREDICT = f'{{key = #key<path = ["p#KEY"]>, predictor = @p, signature = {SIGNATURE}, sampling = #sampling<SAMPLING>}}'


def predict(key: str, sampling: str = "max_tokens = 12") -> str:
    """Attributes of a call of `@p`."""
    return PREDICT.replace("KEY", key).replace("SAMPLING", sampling)


def module(body: str, args: str = "%text: str", returns: str = "{label: str}") -> Module:
    """A module with one predictor and one function. Verified."""
    made = parse_module(
        f"""module @test {{
          prog.def_predictor @p() {{signature = {SIGNATURE}}} : ()
          prog.func @main() {{returns = !{returns}}} do ({args}) {{ {body} }} : ()
        }}"""
    )
    check(made)
    return made


CALL = module(f"%r = prog.predict(%text) {predict('0')} : ({{label: str}}) prog.return(%r) : ()")

CHAIN = module(
    f"""%a = prog.predict(%text) {predict("0")} : ({{label: str}})
        %l = prog.field(%a) {{field = "label"}} : (str)
        %b = prog.predict(%l) {predict("1")} : ({{label: str}})
        prog.return(%b) : ()"""
)

SAMPLED = module(
    f"""%a = prog.predict(%text) {predict("0", "temperature = 0.9, max_tokens = 12")} : ({{label: str}})
        %b = prog.predict(%text) {predict("1", "temperature = 0.9, max_tokens = 12")} : ({{label: str}})
        %x = prog.field(%a) {{field = "label"}} : (str)
        %y = prog.field(%b) {{field = "label"}} : (str)
        %r = prog.pack(%x, %y) {{names = ["x", "y"]}} : ({{x: str, y: str}})
        prog.return(%r) : ()""",
    returns="{x: str, y: str}",
)

FILTER = module(
    f"""%out = prog.map(%texts) do (%t: str, %i: int) {{
          %r = prog.predict(%t) {predict("0")} : ({{label: str}})
          %l = prog.field(%r) {{field = "label"}} : (str)
          %n = prog.apply(%l) {{fn = "len"}} : (int)
          %two = prog.const() {{type = !int, value = 2}} : (int)
          %odd = prog.apply(%n, %two) {{fn = "mod"}} : (int)
          %keep = prog.apply(%odd) {{fn = "bool"}} : (bool)
          prog.yield(%l, %keep) : ()
        }} : (list[str])
        %r = prog.pack(%out) {{names = ["labels"]}} : ({{labels: list[str]}})
        prog.return(%r) : ()""",
    args="%texts: list[str]",
    returns="{labels: list[str]}",
)

LOOP = module(
    f"""%none = prog.const() {{type = !int, value = 0}} : (int)
        %last, %n = prog.loop(%text, %none) {{max = 3}} do (%t: str, %count: int, %i: int) {{
          %r = prog.predict(%t) {predict("0")} : ({{label: str}})
          %l = prog.field(%r) {{field = "label"}} : (str)
          %one = prog.const() {{type = !int, value = 1}} : (int)
          %next = prog.apply(%count, %one) {{fn = "add"}} : (int)
          %size = prog.apply(%l) {{fn = "len"}} : (int)
          %five = prog.const() {{type = !int, value = 11}} : (int)
          %stop = prog.apply(%size, %five) {{fn = "gt"}} : (bool)
          prog.next(%stop, %l, %next) : ()
        }} : (str, int)
        %r = prog.pack(%last, %n) {{names = ["label", "n"]}} : ({{label: str, n: int}})
        prog.return(%r) : ()""",
    returns="{label: str, n: int}",
)

BRANCH = module(
    f"""%n = prog.apply(%text) {{fn = "len"}} : (int)
        %two = prog.const() {{type = !int, value = 2}} : (int)
        %m = prog.apply(%n, %two) {{fn = "mod"}} : (int)
        %even = prog.const() {{type = !int, value = 0}} : (int)
        %c = prog.apply(%m, %even) {{fn = "eq"}} : (bool)
        %l = prog.if(%c) do () {{
          %a = prog.predict(%text) {predict("0")} : ({{label: str}})
          %x = prog.field(%a) {{field = "label"}} : (str)
          prog.yield(%x) : ()
        }} do () {{
          %k = prog.const() {{type = !str, value = "odd"}} : (str)
          prog.yield(%k) : ()
        }} : (str)
        %r = prog.pack(%l) {{names = ["label"]}} : ({{label: str}})
        prog.return(%r) : ()"""
)

TEXTS = ["red cat", "a dog saw it", "green", "the sun is up", "red cat", "x", "tea and salt"]
CASES: dict[str, tuple[Module, list[dict[str, object]]]] = {
    "call": (CALL, [{"text": t} for t in TEXTS]),
    "chain": (CHAIN, [{"text": t} for t in TEXTS]),
    "sampled": (SAMPLED, [{"text": t} for t in TEXTS]),
    "filter": (FILTER, [{"texts": TEXTS[i:]} for i in range(5)] + [{"texts": []}]),
    "loop": (LOOP, [{"text": t} for t in TEXTS]),
    "branch": (BRANCH, [{"text": t} for t in TEXTS]),
}
