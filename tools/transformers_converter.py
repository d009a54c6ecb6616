"""CTranslate2's converter of Transformers' models, for models that have no tokenizer's files."""
import json
import pathlib

import ctranslate2.converters


class Tokens:
    """What the converter asks of a tokenizer."""

    unk_token = bos_token = eos_token = pad_token = "t1"
    additional_special_tokens = []
    special_tokens_map = added_tokens_encoder = {}

    def __init__(self, config):
        self.words = {f"t{i}": i for i in range(config["vocab_size"])}
        if config["model_type"] == "marian":
            self.words["<pad>"] = self.words.popitem()[1]

    def get_vocab(self):
        return self.words

    def convert_ids_to_tokens(self, token):
        return f"t{token}"


class Converter(ctranslate2.converters.TransformersConverter):
    def load_tokenizer(self, tokenizer_class, model_name_or_path, **kwargs):
        return Tokens(json.loads((pathlib.Path(model_name_or_path) / "config.json").read_text()))

    def load_model(self, model_class, model_name_or_path, **kwargs):
        """With what Transformers 5 forgets of a config."""
        model = super().load_model(model_class, model_name_or_path, **kwargs)
        config = json.loads((pathlib.Path(model_name_or_path) / "config.json").read_text())
        kind = config["model_type"]
        model.config.tie_word_embeddings = config["tie_word_embeddings"]
        model.config.normalize_before = kind in ("mbart", "pegasus")
        model.config.normalize_embedding = kind in ("bart", "mbart")
        return model
