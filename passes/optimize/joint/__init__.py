"""Joint search over everything that a program may change, under a trade of score against tokens."""

from lampc.passes.optimize.joint.front import Point, front, front_of
from lampc.passes.optimize.joint.strategy import JointSearch

__all__ = ["JointSearch", "Point", "front", "front_of"]
