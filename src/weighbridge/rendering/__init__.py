"""Templates of strangers, rendered in a process of their own that has little time, little memory and no disk."""

from weighbridge.rendering.renderer import Renderer

__all__ = ["Renderer"]
