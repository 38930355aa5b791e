"""An encoder that is small enough to be loaded and taught in a test."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from models.text.directory import packaged


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a one-layer BERT of 32 dimensions and MiniLM's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy(packaged() / "tokenizer.json", folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ).save_pretrained(folder)
    return folder
