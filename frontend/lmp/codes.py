"""Explanations of the diagnostics of `.lmp`: what `lampc explain CODE` prints. L01 syntax, L02 names, L03 types,
L04 signatures, modules and calls, L05 control flow, L06 data, metrics, optimisation and tests."""

from lampc.ir import explain

CODES = {
    # -- syntax
    "L0101": "unexpected word or sign\n"
    "What stands here cannot stand here; the message lists what could. The broken statement is left "
    "out, and the rest of the file is still checked.",
    "L0102": "a `;` is missing\n"
    "Every statement and every declaration without a body ends with `;`. The checker goes on as if "
    "it were there.",
    "L0103": "a bracket is never closed\n"
    "An opening `{`, `(` or `[` has no partner before the next declaration begins. Declarations "
    "begin at the start of a line.",
    "L0104": "a text or number that cannot be read\n"
    'A text stands between `"` on one line, with the escapes of JSON (`\\n`, `\\t`, `\\"`, `\\\\`, '
    '`\\u00e9`); a text of several lines stands between `"""` and is taken as it is, dedented. '
    "Numbers may end in a unit: `2k`, `3M`, `900s`, `50ms`.",
    "L0105": "no declaration\n"
    "A file holds imports, types, models, tools, functions, retrievers, signatures, modules, "
    "datasets, metrics, optimisations and tests, and nothing else. Statements stand inside a "
    "module.",
    "L0106": "a character without meaning\nThis character is no part of the language outside of texts and comments.",
    "L0107": "`=` used to compare\n`=` gives a name its value; `==` compares two values.",
    "L0108": "nested too deeply\nThe file holds an expression or block within hundreds of others. Give parts of it "
    "names by `let`.",
    "L0109": "an empty file\nThe file declares nothing, so there is nothing to check or to run. Perhaps it was not "
    "saved, or is not the file that was meant.",
    # -- names
    "L0201": "unknown name\n"
    "No value, function or declaration of this name is visible here. Names are written exactly as "
    "they were declared, letter case included.",
    "L0202": "unknown type\n"
    "Types are str, int, float, bool, any, none, list[T], T? (may be absent), choices of texts "
    '(`"yes" | "no"`), records (`{title: str}`) and what the file declares by `type`.',
    "L0203": "a name is defined twice\n"
    "Every name is given a value once, in the whole file for declarations and in the whole module "
    "for values: a reader never has to ask which one is meant. Words of the language and built-in "
    "functions cannot be redefined.",
    "L0204": "a name of another kind\n"
    "The name exists, but is something else than what is needed here: a type where a value is "
    "wanted, a value where something is called.",
    "L0205": "an attribute that does not belong here\n"
    "Attributes begin with `@` and say more about what they follow. Each belongs to certain places: "
    "`@max` to fields, `@model`, `@layout`, `@frozen` to `use`, `@sample` to `use` and calls, "
    "`@pure` and `@unordered` to tools.",
    "L0206": "an import fails\n"
    "The file that `import` names is looked for beside the importing file. It must exist, be UTF-8 "
    "text, and not import its importer in turn.",
    "L0207": "something is never used\n"
    "The value is computed and nothing looks at it (calls that nothing uses are removed by the "
    "compiler). A name that begins with `_` may stay unused.",
    "L0208": "unknown name in an import\nThe imported file exists, but declares nothing of this name.",
    "L0209": "a name from an inner block\n"
    "Names live in the block that defines them. A branch gives values to the outside by `yield`: "
    "`let x = if c { yield a; } else { yield b; };`. Only loops keep their names visible, as of the "
    "last round.",
    # -- types
    "L0301": "a value of the wrong type\n"
    "The value does not fit where it is put. A choice fits a str, an int fits a float, T fits T?; "
    "`any` fits everywhere and is checked when the program runs.",
    "L0302": "an operand of the wrong type\n"
    "Operators and built-in functions work on certain types: arithmetic on numbers, `+` on two "
    "numbers, two texts or two lists, `and`, `or`, `not` on truth values.",
    "L0303": "unknown field\n"
    "The record has no field of this name. Of a list of records, `.field` is the list of that "
    "field.",
    "L0304": "no record\n"
    "Only records have fields (and lists of records: a column). A value of type T? may be absent: "
    "`coalesce(value, default)` gives one that is there.",
    "L0305": "a comparison that is decided before the program runs\n"
    "The two sides can never be equal: a choice compared with a text that is none of its options, "
    "or values of different kinds.",
    "L0306": "a constant that cannot be computed\n"
    "Expressions of literals are computed while compiling; this one fails, for instance by a "
    "division by zero or an index beyond the end.",
    "L0307": "a union that is no choice\n"
    '`|` joins texts to a choice: `"yes" | "no"`, each once. A value that may be absent is written '
    "`T?`. Other unions do not exist; `any` holds everything.",
    "L0308": "wrong number of arguments\n"
    "The built-in function takes another number of arguments; docs/language.md has the table.",
    "L0310": "a type made of itself\nTypes are finite trees. Where values nest freely, use `any`.",
    # -- signatures, modules, calls
    "L0401": "a missing argument\nA predictor or module needs all its inputs, a tool all its parameters.",
    "L0402": "an unknown argument\nThe callee has no input of this name.",
    "L0403": "an argument twice\nEach input is given once.",
    "L0404": "an argument without a name\n"
    "Inputs of predictors and modules are named: `ask(question: q)`. Built-in functions, on the "
    "other hand, take their arguments by place.",
    "L0405": "a field twice\n"
    "Names of inputs and outputs are unique within a signature, a module or a record; a signature "
    "has one instruction.",
    "L0406": 'a description of no field\n`field name "...";` describes an input or output of its own signature, once.',
    "L0407": "a demo that does not fit\nA demo gives literal values for fields of its signature, of their types.",
    "L0408": "a signature without outputs\nA signature says what goes in and what comes out: at least one output.",
    "L0409": "wrong arguments of an attribute\nThe attribute exists, but takes other arguments.",
    "L0410": "`use` of something else\n"
    "`use name = Predict(Signature);` and `ChainOfThought(Signature)` make predictors, `use name = "
    "Module();` makes a module of its own, whose predictors are tuned apart.",
    "L0411": "a call or attribute of no named thing\n"
    "Only what has a name is called: a predictor, a module, a tool, a retriever, a function. "
    "Attributes follow calls.",
    "L0412": "a module that uses itself\nModules form a tree; repetition is written as a loop with a bound.",
    "L0413": "a wrong `return`\nA module returns exactly its declared outputs: `return (answer: x, hops: n);`.",
    "L0414": "a declaration called directly\n"
    "Signatures and modules are made usable first, by `use` at the top of the module; that is where "
    "their parameters live.",
    "L0415": "a wrong `tune`\n"
    "`tune k: int = 4 in [2, 4, 8];` names a type, a default and the choices, all literal; the "
    "default is one of the choices.",
    "L0416": "a wrong definition\n"
    'Models are `engine("firefly")` or `endpoint("http://...")`, retrievers `bm25("file.jsonl", '
    'field: "text", k: 3)`, tools and functions `python("module:function")`.',
    "L0417": "a field whose name is no word\n"
    'Names of fields are words. A quoted name (`"facts.k": 3`) stands in options of optimizers only, where it '
    "names a parameter.",
    "L0418": "a layout that cannot be\n"
    "`layout context, instruction, question;` orders the blocks of a prompt: `instruction`, `demos` and the inputs by "
    "name, each once; the last one is not `demos`. Instruction and demos that are not named stand in front, inputs "
    "behind. The layout `two_step` has one order only.",
    "L0419": "a call that cannot go on where another ended\n"
    "`@continue(d)` names the answer of one call of the same module, given by `let d = ask(...);` where it has surely "
    "run: not a list of answers, not what a branch, a loop or another module gave. Both calls ask the same model, "
    "without a cascade, in layouts that ask once (not `two_step`).",
    # -- control flow
    "L0501": "a module that returns nothing, or a declaration in a block\n"
    "A module ends with `return (...)`. `use` and `tune` stand at its top, not in blocks.",
    "L0502": "unreachable statements\nNothing is run after `return`, `yield` or `next` in the same block.",
    "L0503": "a missing or misplaced `yield`\n"
    "The blocks of a branch whose value is used, and the body of a map, end with `yield`. A map "
    "leaves items out by ending with `if keep { yield x; }`.",
    "L0504": "cases that are not handled\nA `match` handles every value: all options of a choice, or a last case `_`.",
    "L0505": "a case that never happens\nThe case is there twice, follows `_`, or is no value that can occur.",
    "L0506": "a loop without `next`, or `next` without a loop\n"
    "A loop ends with `next (name: value, ...) until condition;`: what is carried into the next "
    "round, and when to stop.",
    "L0507": "carried values that do not match\n"
    "`next` gives each carried value, once, of the type it had at the start.",
    "L0508": "a loop without rounds\n`max` bounds a loop; it is a whole number from 1. A loop runs at least once.",
    "L0509": "a condition that is neither true nor false\n"
    "Conditions are of type bool. Nothing is taken for true by itself: write `len(x) > 0` or `x != "
    '""`.',
    "L0510": "a wrong number of values\n"
    "Both sides of a branch yield as many values as there are names; a map yields one.",
    "L0511": "`return` in a block\n"
    "A module returns at its end. At the top of a module, `if c { return (...); }` returns early; "
    "deeper blocks give values by `yield`.",
    "L0512": "a condition that is always the same\nThe condition is a literal, so one side is never run.",
    "L0513": "`map` over no list\n`map x in list { ... }` goes through a list.",
    # -- data, metrics, optimisation, tests
    "L0601": "an unknown split\nDatasets have the splits train, dev and test, or those whose sizes they declare.",
    "L0602": "a dataset that does not fit the module\n"
    "Each input of the module is a column of its dataset, of a fitting type; at least one further "
    "column has the name of an output, to be compared with it.",
    "L0603": "a wrong dataset\n"
    '`csv("file", split: "column")` or `jsonl("file", train: 60, dev: 60, seed: 7)`: a file and how '
    "it is split.",
    "L0604": "a wrong metric\nA metric takes the wanted value and the predicted one and gives a number.",
    "L0605": "an unknown optimizer\n"
    "A step is the name of an optimizer with its options by name: `labeled(k: 8)` takes demos from the data, "
    '`bootstrap(max_bootstrapped_demos: 4)` from runs that score well, `instructions(pool: "file")` chooses '
    "instructions. docs/optimizing.md has them all, `lampc explain NAME` one with its options.",
    "L0606": "a mock that does not fit\n"
    "`mock predictor => (output: value);` gives all outputs of a predictor of the program (of a "
    "module inside, `outer.inner`); `mock tool => value;` answers for a tool or retriever.",
    "L0607": "an incomplete test\nA test runs one module and expects something of it.",
    "L0608": "wrong inputs of a test's run\n`run Module(input: literal, ...)` gives each input of the module.",
    "L0609": "an unknown budget\n"
    "A budget bounds calls, tokens, time or money: `budget (tokens: 2M, time: 900s, money: 1.50)`.",
    "L0610": "an expectation that is neither true nor false\n`expect` takes a condition on the outputs and on `stats`.",
    "L0612": "selecting on the training rows\n"
    "Candidates that are chosen on the rows they are made of look better than they are. Name "
    "another split by `select`.",
    "L0613": "an unknown option of an optimizer\n"
    "Each optimizer has options of its own; `lampc explain NAME` lists them with their types and defaults. An option "
    "is given once, by its name.",
    "L0614": "an option of the wrong type\n"
    "Options are literals: numbers, texts, true, false, null, lists `[...]` and records `(name: value)`, whose names "
    'may be quoted (`"facts.k": [2, 4]`). Files are named by texts, relative to the source.',
    "L0615": "a clause of an optimisation that is wrong\n"
    '`budget (...)`, `save "tuned.lampc"` and `resume "runs/name"` stand at most once each behind the metric: what '
    "it may cost, where the tuned program goes, and the folder in which the run is kept and goes on.",
    "L0620": "not sayable in `.lmp`\n"
    "The module holds something that the language has no words for, such as a call of a Python "
    "closure. It runs, and can be saved as `.lir`.",
}
"""Explanation of every code of this frontend."""

explain(CODES)
