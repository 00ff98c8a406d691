"""Classes of users that fields are typed with: pydantic models, enums, a dataclass, a typed dict."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

import pydantic
from typing_extensions import TypedDict


class Color(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Person(pydantic.BaseModel):
    name: str
    age: int


class Address(pydantic.BaseModel):
    """Where somebody lives.

    As on a letter.
    """

    street: str = pydantic.Field(description="with the number")
    country: Literal["US", "CA"] = "US"
    zip: str | None = None


class Company(pydantic.BaseModel):
    """A firm."""

    title: str
    staff: list[Person] = []
    seat: Address | None = None
    colors: list[Color] = pydantic.Field(default=[], description="of its logo")
    scores: dict[str, float] = {}
    rank: int = pydantic.Field(default=1, ge=1, le=9)


class Node(pydantic.BaseModel):
    """A tree."""

    label: str
    children: list[Node] = []


@dataclass
class Point:
    x: int
    y: float = 0.5


class Row(TypedDict):
    id: int
    tags: list[str]
