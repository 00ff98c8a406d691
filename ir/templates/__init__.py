"""Jinja2 prompt templates of the user's own as layouts: text, slots, loops over demos; never rendered blindly."""

from lampc.ir.templates.layout import TemplateLayout
from lampc.ir.templates.slots import SlotLayout
from lampc.ir.templates.template import PREFIX, SLOT, Template, template_layout
from lampc.ir.templates.translate import translate

__all__ = ["PREFIX", "SLOT", "SlotLayout", "Template", "TemplateLayout", "template_layout", "translate"]
