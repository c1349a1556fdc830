"""A run as TensorBoard's events, in the run folder."""

from __future__ import annotations

import io
import os
import re
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evo_nas.listeners.numbers import Entry
from evo_nas.listeners.trackers.base import Sent, Tracker
from evo_nas.system.atomic import make_folder

if TYPE_CHECKING:
    from tensorboard.summary.writer.record_writer import RecordWriter


class TensorBoard(Tracker):
    """An event per trial, with all its numbers; the genotype, the picture and the learning curve of new bests.

    The step is the number of trainings that had ended, the wall time that of the history. The events are written anew
    from the history whenever the record is opened.
    """

    name = "tensorboard"
    _records: RecordWriter | None = None

    def open(self) -> Sent | None:
        """Delete the events of before, and begin a file."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.forget()
        make_folder(self.folder)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        # Without a buffer: one that cannot be written would be tried again, and complain, when Python ends.
        self._records = RecordWriter((self.folder / name).open("wb", buffering=0))
        self._write(wall_time=time.time(), file_version="brain.Event:2")
        self._write(wall_time=time.time(), summary=_summarize([_lay_out(self.run.measure.name)]))
        return None

    def send(self, entries: Sequence[Entry]) -> None:
        """Write an event per trial, and one per epoch of a new best."""
        for entry in entries:
            told = entry.told
            curve: tuple[float, ...] = ()
            values = [_describe_number(tag, number) for tag, number in entry.numbers.items()]
            if entry.is_incumbent:
                found = self.run.describe_incumbent(entry)
                curve = found.curve
                values.append(_describe_text("incumbent", f"trial {told.id}\n\n    {told.genotype}"))  # as it stands
                values += [_describe_picture("incumbent", found.picture)] if found.picture else []
            self._write(wall_time=told.at, step=entry.trained, summary=_summarize(values))
            for epoch, value in enumerate(curve, 1):
                number = _describe_number(f"incumbents_learning_curve/trial_{told.id}", value)
                self._write(wall_time=told.at, step=epoch, summary=_summarize([number]))

    def close(self, *, has_ended: bool, reason: str | None) -> None:
        """Close the file."""
        if self._records is not None:
            self._records.close()
            self._records = None

    def forget(self) -> None:
        """Close the file, and delete the events."""
        self.close(has_ended=False, reason=None)
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        assert self._records is not None, "it is open"
        try:
            self._records.write(Event(**fields).SerializeToString())
        except OSError:
            self.close(has_ended=False, reason=None)
            raise


def _summarize(values: Sequence[Any]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=values)


def _describe_number(tag: str, number: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=number)


def _describe_text(tag: str, text: str) -> Any:
    from tensorboard.plugins.text.metadata import create_summary_metadata

    metadata = create_summary_metadata(display_name="", description="")
    return _describe_strings(f"{tag}/text_summary", text.encode(), metadata, sizes=(1,))


def _lay_out(measure: str) -> Any:
    """Return the chart of the tab "custom scalars": the fitness of all trials, the best and the mean in one."""
    from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
    from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG, create_summary_metadata

    chart = Chart(title=measure, multiline=MultilineChartContent(tag=[f"{re.escape(measure)}/.*"]))
    layout = Layout(category=[Category(title="search", chart=[chart])])
    return _describe_strings(CONFIG_SUMMARY_TAG, layout.SerializeToString(), create_summary_metadata())


def _describe_strings(tag: str, content: bytes, metadata: Any, sizes: Sequence[int] = ()) -> Any:
    """Return what TensorBoard takes for text: a tensor of one string, of the given sizes."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
    return Summary.Value(
        tag=tag, metadata=metadata, tensor=TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[content])
    )


def _describe_picture(tag: str, png: bytes) -> Any:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(io.BytesIO(png)) as picture:
        image = Summary.Image(width=picture.width, height=picture.height, colorspace=4, encoded_image_string=png)
    return Summary.Value(tag=tag, image=image)
