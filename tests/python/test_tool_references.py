"""References in the input schemas of tools of elsewhere."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, Field

import lampc

INT, TEXT = {"type": "integer"}, {"type": "string"}
POINT = {"type": "object", "properties": {"x": INT}}
DEFS = {"Point": POINT, "a/b~c d": TEXT, "Box[int]": INT}


def args(schema: dict[str, Any]) -> dict[str, Any]:
    declared = SimpleNamespace(name="look", description="", inputSchema=schema)
    session: Any = None
    return lampc.Tool.from_mcp_tool(session, declared).args


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "default": {"$ref": "#/$defs/Point"}},
        {"type": "object", "default": {"inner": [{"$ref": "#/$defs/None"}]}},
        {"enum": [{"$ref": "#/$defs/None"}]},
        {"const": {"$ref": "#/$defs/None"}},
        {"examples": [{"$ref": "#/$defs/None"}]},
        {"$ref": "http://localhost/other.json"},
    ],
)
def test_values_are_no_references(schema: dict[str, Any]) -> None:
    assert args({"properties": {"a": schema}, "$defs": DEFS}) == {"a": schema}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"$ref": "#/$defs/a~1b~0c%20d"}, TEXT),
        ({"$ref": "#/$defs/Box%5Bint%5D"}, INT),
        ({"$ref": "#/$defs/Box[int]"}, INT),
        ({"$ref": "#/properties/b"}, TEXT),
        ({"$ref": "#/properties/c/anyOf/1"}, TEXT),
        ({"$ref": "#/components/schemas/Point"}, POINT),
        (
            {"properties": {"default": {"$ref": "#/$defs/Point"}, "$ref": TEXT}},
            {"properties": {"default": POINT, "$ref": TEXT}},
        ),
        ({"$defs": {"Own": INT}, "$ref": "#/$defs/Own"}, INT),
        (True, {}),
    ],
)
def test_what_references_name(schema: Any, wanted: dict[str, Any]) -> None:
    more = {"b": TEXT, "c": {"anyOf": [INT, TEXT]}}
    assert args({"properties": {"a": schema, **more}, "$defs": DEFS}) == {"a": wanted, **more}


def test_a_schema_that_is_a_reference_itself() -> None:
    named = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Point"}, "b": {"$ref": "#/$defs/Args"}}}
    found = args({"$ref": "#/$defs/Args", "$defs": {"Args": named, "Point": POINT}})
    assert found == {"a": POINT, "b": {"type": "object"}}


def test_what_stands_beside_a_reference_stays() -> None:
    defs = {
        "Short": {"type": "string", "maxLength": 3, "description": "a short one"},
        "Shorter": {"$ref": "#/$defs/Short", "maxLength": 2, "title": "Shorter"},
        "Any": True,
        "None": False,
        "Tree": {"properties": {"left": {"$ref": "#/$defs/Tree", "description": "the left"}}},
    }
    told = {"$ref": "#/$defs/Short", "description": "who", "default": "ann"}
    found = args(
        {
            "properties": {
                "told": told,
                "asked": {"$ref": "#/$defs/Shorter", "minLength": 1, "not": {"$ref": "#/$defs/Any"}},
                "any": {"$ref": "#/$defs/Any", "maxLength": 2},
                "none": {"properties": {"no": {"$ref": "#/$defs/None", "description": "no"}}},
                "tree": {"$ref": "#/$defs/Tree", "description": "a tree"},
            },
            "$defs": defs,
        }
    )
    assert found == {
        "told": {"type": "string", "maxLength": 3, "description": "who", "default": "ann"},
        "asked": {
            **defs["Short"],
            "title": "Shorter",
            "allOf": [{"maxLength": 2}, {"minLength": 1, "not": True}],
        },
        "any": {"allOf": [{"maxLength": 2}]},
        "none": {"properties": {"no": False}},
        "tree": {"properties": {"left": {"type": "object", "description": "the left"}}, "description": "a tree"},
    }


def test_references_beside_a_reference_are_not_inside_of_it() -> None:
    names = {"type": "array", "items": {"type": "string"}}
    defs = {
        "Names": {**names, "allOf": None},
        "Lists": {"$ref": "#/$defs/Names", "not": {"$ref": "#/$defs/Lists"}},
        "Far": {"$ref": "https://example.com/far", "not": {"$ref": "#/$defs/Far"}},
    }
    found = args(
        {
            "properties": {
                "a": {"$ref": "#/$defs/Names", "contains": {"$ref": "#/$defs/Names"}, "example": []},
                "b": {"$ref": "#/$defs/Lists"},
                "c": {"$ref": "#/$defs/Far", "contains": {"$ref": "#/$defs/Names"}},
            },
            "$defs": {**defs, "Names": names},
        }
    )
    far = {"$ref": "https://example.com/far", "not": {"type": "object"}, "allOf": [{"contains": names}]}
    assert found == {
        "a": {**names, "example": [], "allOf": [{"contains": names}]},
        "b": {**names, "allOf": [{"not": {"type": "object"}}]},
        "c": far,
    }
    assert args({"properties": {"a": {"$ref": "#/$defs/Names", "maxItems": 2}}, "$defs": defs}) == {
        "a": {**names, "allOf": [{"maxItems": 2}]}
    }


def test_arguments_are_right_by_what_stands_beside_a_reference_too() -> None:
    number = {"type": "integer", "minimum": 1}
    schema = {"properties": {"a": {"$ref": "#/$defs/N", "maximum": 3}}, "$defs": {"N": number}}
    declared = SimpleNamespace(name="look", description="", inputSchema=schema)
    session: Any = None
    tool = lampc.Tool.from_mcp_tool(session, declared)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match="Arg a is invalid"):
            tool._arguments.parsed({"a": wrong})


def test_what_is_told_of_a_parameter_beside_its_type_is_shown() -> None:
    class Point(BaseModel):
        x: int

    class Line(BaseModel):
        start: Point = Field(description="where it begins")

    def draw(line: Line) -> str:
        return ""

    assert lampc.Tool(draw).args["line"]["properties"]["start"]["description"] == "where it begins"


def fan(width: int, depth: int) -> dict[str, Any]:
    defs: dict[str, Any] = {
        f"D{i}": {"properties": {str(k): {"$ref": f"#/$defs/D{i + 1}"} for k in range(width)}} for i in range(depth)
    }
    return {"properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": {**defs, f"D{depth}": INT}}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"properties": {"a": {"$ref": "#/$defs/Gone"}}, "$defs": DEFS},
            "'#/$defs/Gone' in its input schema names nothing that is in it; its `$defs` are Point, a/b~c d, Box[int]",
        ),
        ({"properties": {"a": {"$ref": "#/$defs/Gone"}}}, "names nothing that is in it; it has no `$defs`"),
        (fan(2, 60), "more than 100,000 parts when each `$ref` ('#/$defs/D0', ...) is written out"),
    ],
)
def test_what_cannot_be_written_out_is_an_error_that_names_the_tool(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^tool `look`: .*{re.escape(message)}"):
        args(schema)


def test_many_parts_without_references_are_no_trouble() -> None:
    large = {"properties": {str(i): {"enum": [i]} for i in range(110_000)}}
    assert args({"properties": {"a": large, "b": {"$ref": "#/$defs/Point"}}, "$defs": DEFS}) == {"a": large, "b": POINT}


def test_long_chains_are_written_out() -> None:
    found = args(fan(1, 3000))["a"]
    for _ in range(3000):
        found = found["properties"]["0"]
    assert found == INT


@pytest.mark.parametrize("ref", ["#/$defs/Point", "http://localhost/other.json"])
def test_properties_beside_a_reference_stay(ref: str) -> None:
    assert args({"$ref": ref, "properties": {"a": INT}, "$defs": DEFS}) == {"a": INT}


def test_a_reference_to_one_that_leads_elsewhere_is_that_one() -> None:
    away = {"$ref": "http://localhost/other.json"}
    schema = {"properties": {"b": {"$ref": "#/$defs/Away"}}}
    assert args({"properties": {"a": schema}, "$defs": {"Away": away}}) == {"a": {"properties": {"b": away}}}


@pytest.mark.parametrize("schema", [{"properties": {"a": INT}, "$defs": None}, {"properties": {"a": INT, "b": False}}])
def test_no_definitions_and_nothing_allowed(schema: dict[str, Any]) -> None:
    assert args(schema)["a"] == INT
