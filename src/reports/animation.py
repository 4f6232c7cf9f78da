"""Scenes as a moving picture, and as text for a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..envs.contract.scene import GridScene, LevelScene, PictureScene, Scene, Thing, team_color

_CELL, _OVERSAMPLING = 48, 2  # pixels; drawn larger, then reduced: smooth edges
_FRAME_MS, _LAST_FRAME_MS = 250, 1500
_LONG, _LONG_FRAME_MS = 60, 100  # from so many frames on each is shown for so long
_BAR = 40  # characters
_IN_TEXT: Mapping[str, str] = {"disc": "{}", "square": "[{}]", "ring": "({})"}


def write_gif(scenes: Sequence[Scene], captions: Sequence[str], path: Path) -> None:
    """Draw an episode, one frame per scene.

    Args:
        scenes: all of one kind.
        captions: a line for each.
        path: of the GIF.
    """
    first = scenes[0]
    if isinstance(first, LevelScene):
        levels = [scene for scene in scenes if isinstance(scene, LevelScene)]
        frames = _level_frames(levels, captions)
    else:
        frames = [_frame(scene, caption) for scene, caption in zip(scenes, captions, strict=True)]
    pace = _FRAME_MS if len(frames) < _LONG else _LONG_FRAME_MS
    durations = [pace] * (len(frames) - 1) + [_LAST_FRAME_MS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def to_text(scene: Scene) -> str:
    """A scene for a terminal.

    Raises:
        ValueError: it is a ready picture, which a terminal cannot show.
    """
    if isinstance(scene, GridScene):
        return _grid_text(scene)
    if isinstance(scene, LevelScene):
        return _level_text(scene)
    raise ValueError("this environment draws pictures, which a terminal cannot show; choose render=gif")


def _grid_text(scene: GridScene) -> str:
    cells = [["."] * scene.width for _ in range(scene.height)]
    for thing in scene.things:
        cells[thing.row][thing.column] = _IN_TEXT[thing.shape].format(thing.label)
    size = max(len(text) for row in cells for text in row)
    return "\n".join(" ".join(text.center(size) for text in row).rstrip() for row in cells)


def _level_text(scene: LevelScene) -> str:
    width = max(map(len, scene.names))
    lines = [f"{scene.unit}, at {scene.time:.2f} s"]
    for name, value in zip(scene.names, scene.values, strict=True):
        lines.append(f"{name:<{width}} {value:6.1f} {'#' * round(min(value, _BAR) if value > 0 else 0)}".rstrip())
    return "\n".join(lines)


def _frame(scene: Scene, caption: str) -> Any:
    if isinstance(scene, GridScene):
        return _grid_frame(scene, caption)
    assert isinstance(scene, PictureScene)
    from PIL import Image, ImageDraw, ImageFont

    height, width, _ = scene.pixels.shape
    image = Image.new("RGB", (width, height + _CELL // 2), "white")
    image.paste(Image.fromarray(scene.pixels), (0, 0))
    ImageDraw.Draw(image).text((4, height + 4), caption, "black", ImageFont.load_default(13))
    return image.quantize(128)


def _grid_frame(scene: GridScene, caption: str) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    cell = _CELL * _OVERSAMPLING
    width, height = scene.width * cell, scene.height * cell
    image = Image.new("RGB", (width + 1, height + cell), "white")
    draw = ImageDraw.Draw(image)
    for row in range(scene.height + 1):
        draw.line([(0, row * cell), (width, row * cell)], "lightgray", _OVERSAMPLING)
    for column in range(scene.width + 1):
        draw.line([(column * cell, 0), (column * cell, height)], "lightgray", _OVERSAMPLING)
    for thing in scene.things:
        _draw_thing(draw, thing, cell)
    font = ImageFont.load_default(cell * 0.3)
    draw.text((cell * 0.2, height + cell / 2), caption.replace(", ", "\n", 1), "black", font, anchor="lm")
    return image.resize((image.width // _OVERSAMPLING, image.height // _OVERSAMPLING)).quantize(64)


def _draw_thing(draw: Any, thing: Thing, cell: int) -> None:
    from matplotlib.colors import to_hex
    from PIL import ImageFont

    color, middle = to_hex(thing.color), ((thing.column + 0.5) * cell, (thing.row + 0.5) * cell)
    part = {"disc": 0.36, "square": 0.34, "ring": 0.45}[thing.shape]
    box = [middle[0] - part * cell, middle[1] - part * cell, middle[0] + part * cell, middle[1] + part * cell]
    if thing.shape == "ring":
        draw.ellipse(box, outline=color, width=cell // 16)
    else:
        (draw.ellipse if thing.shape == "disc" else draw.rectangle)(box, fill=color)
    text = color if thing.shape == "ring" else "white"
    draw.text(middle, thing.label, text, ImageFont.load_default(cell * 0.4), anchor="mm")


def _level_frames(scenes: Sequence[LevelScene], captions: Sequence[str]) -> list[Any]:
    """One strip per quantity, drawn once with and once without curves; a frame shows the curves up to its time."""
    from PIL import ImageDraw, ImageFont

    times = np.array([scene.time for scene in scenes])
    values = np.nan_to_num(np.array([scene.values for scene in scenes]), posinf=0.0)  # T K
    top = max(1.0, float(values.max()))
    full, edges = _strips(scenes[0], times, values, top)
    empty, _ = _strips(scenes[0], times, np.zeros_like(values), top)
    font, frames = ImageFont.load_default(15), []
    for caption, edge in zip(captions, edges, strict=True):
        image = empty.copy()
        image.paste(full.crop((0, 0, edge, full.height)), (0, 0))
        ImageDraw.Draw(image).text((12, 8), caption, "black", font)
        frames.append(image.quantize(64))
    return frames


def _strips(
    scene: LevelScene, times: NDArray[np.float64], values: NDArray[np.float64], top: float
) -> tuple[Any, list[int]]:
    """A picture of the quantities' courses up to ``top``, and the column of pixels of each time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    n = len(scene.names)
    height = 1 + 0.42 * n  # inches
    figure, all_axes = pyplot.subplots(n, 1, sharex=True, squeeze=False, figsize=(7, height), dpi=90)
    figure.subplots_adjust(left=0.24, right=0.97, bottom=0.55 / height, top=1 - 0.4 / height)
    for k, axes in enumerate(all_axes[:, 0]):
        axes.fill_between(times, values[:, k], step="post", color=team_color(k), linewidth=0)
        axes.set(xlim=(times[0], times[-1]), ylim=(0, top), yticks=[])
        axes.set_ylabel(scene.names[k], rotation=0, ha="right", va="center", fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"time (s); height of a strip: {top:g} {scene.unit}", fontsize="small")
    figure.canvas.draw()
    edges = [round(float(axes.transData.transform((t, 0.0))[0])) + 1 for t in times]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    return Image.open(buffer).convert("RGB"), edges
