"""Images and tables: sources, decoding, preprocessing, encoding, augmentation, batches, and the dataset doctor."""

from __future__ import annotations

from resnets.data.augmentation import Augmentation
from resnets.data.builtin import BUILTIN
from resnets.data.cache import kept_side
from resnets.data.csvs import open_rows
from resnets.data.decoding import IMAGE_SUFFIXES, UnreadableImage, read_image, read_reduced
from resnets.data.doctor import examine
from resnets.data.encoding import TableEncoding
from resnets.data.holding import hold_out
from resnets.data.loading import Batch, eval_batches, steps_per_epoch, train_batches
from resnets.data.measuring import choose_preprocessing
from resnets.data.memory import free_memory
from resnets.data.montage import montage
from resnets.data.offering import offer
from resnets.data.origins import ORIGINS, Origin, preprocessing_of
from resnets.data.packed import Packed, Streamed, load_split, pack
from resnets.data.preprocessing import Preprocessing, with_mean_image
from resnets.data.random import draws, epoch_order, seed_of
from resnets.data.rows import Rows, TableSplit
from resnets.data.sources import open_source
from resnets.data.split import Source, Split, UnreadableImagesError, find_unreadable, refuse, subset
from resnets.data.tables import fit_encoding, numbers
from resnets.data.targets import Target
from resnets.data.workers import WorkerDiedError

__all__ = [
    "BUILTIN",
    "IMAGE_SUFFIXES",
    "ORIGINS",
    "Augmentation",
    "Batch",
    "Origin",
    "Packed",
    "Preprocessing",
    "Rows",
    "Source",
    "Split",
    "Streamed",
    "TableEncoding",
    "TableSplit",
    "Target",
    "UnreadableImage",
    "UnreadableImagesError",
    "WorkerDiedError",
    "choose_preprocessing",
    "draws",
    "epoch_order",
    "eval_batches",
    "examine",
    "find_unreadable",
    "fit_encoding",
    "free_memory",
    "hold_out",
    "kept_side",
    "load_split",
    "montage",
    "numbers",
    "offer",
    "open_rows",
    "open_source",
    "pack",
    "preprocessing_of",
    "read_image",
    "read_reduced",
    "refuse",
    "seed_of",
    "steps_per_epoch",
    "subset",
    "train_batches",
    "with_mean_image",
]
