"""The helpfulness model of the Supernotes paper (WWW 2025, arXiv 2411.06116), rebuilt from its published code `phm.py`.

An MLP d-2048-1024-512-256-128-64-32-16-3 with ReLU, dropout 0.65 after layers 1 and 3 and 0.25 after 5 and 7, cross-entropy over {not,
somewhat, helpful}; input [f_u, i_u, note embedding, post embedding]. Faithful but for three things: embeddings are ours (384 wide with
MiniLM instead of 512, so d = 2 + 384 + 384 = 770 instead of 1026), an unknown post is the zero vector, and the training recipe is our
choice (Adam, 1e-3, batches of 512), because the paper's repository holds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.encoders import Encoder
from jury.records import JudgedText, Jury, RatedTexts

WIDTHS = (2048, 1024, 512, 256, 128, 64, 32, 16, 3)
JURORS_PER_GROUP = 150
DROPOUT = {0: 0.65, 2: 0.65, 4: 0.25, 6: 0.25}
Array = NDArray[Any]


class PaperModel:
    """The trained network: `layers` are (weight (out, in), bias (out,)) in float32."""

    name = "paper"

    def __init__(self, layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], encoder: Encoder) -> None:
        self.layers = list(layers)
        self.encoder = encoder
        self._tensors: list[Any] = []

    def tensors(self) -> list[Any]:
        """The layers as torch tensors, weights (in, out); made once, because a report seats a jury per note."""
        if not self._tensors:
            import torch

            self._tensors = [
                (torch.from_numpy(np.ascontiguousarray(w.T)), torch.from_numpy(np.ascontiguousarray(b)))
                for w, b in self.layers
            ]
        return self._tensors

    def seat(self, jury: Jury) -> SeatedPaper:
        return SeatedPaper(self, np.stack([jury.factor, jury.intercept], axis=1).astype(np.float32))


class SeatedPaper:
    """The network with its jurors: a juror's and a text's share of the first layer are computed once each and added.

    A juror enters by two numbers, so most units of the first layer are on for all of these jurors or off for all of them, whatever the
    text. Those that are always on are affine in the juror and pass through the second layer as three rows; only the rest need a product
    per juror. Jurors are taken in groups of neighbours on the factor line, which differ in fewer units still. The answer is the network's
    own, up to the order of additions in float32.
    """

    def __init__(self, model: PaperModel, raters: NDArray[np.float32]) -> None:
        import torch

        self._layers = model.tensors()
        self._model = model
        self._raters = torch.from_numpy(np.column_stack([raters, np.ones(len(raters))]).astype(np.float32))
        weight, bias = self._layers[0]
        self._juror = torch.cat(
            [weight[:2], bias[None]]
        )  # (3, 2048): a juror's share of the first layer is raters @ this
        self._first = self._raters @ self._juror
        order = np.argsort(raters[:, 0], kind="stable")
        self._groups = [
            torch.from_numpy(g) for g in np.array_split(order, max(len(raters) // JURORS_PER_GROUP, 1)) if len(g)
        ]
        shares = [self._first[g] for g in self._groups]
        few = len(raters) == 0
        self._low = torch.zeros(self._first.shape[1]) if few else self._first.min(dim=0).values
        self._spans = [(share.min(dim=0).values, share.max(dim=0).values) for share in shares]

    def _affine(self, units: Any, share: Any) -> Any:
        """What these units of the first layer, all of them on, send through the second: (3, 1024), to be multiplied by [factor, intercept, 1]."""
        rows = self._juror[:, units]
        rows[2] += share[units]
        return rows @ self._layers[1][0][units]

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts:
        vectors = text_vectors(texts, self._model.encoder)
        return self.rate_vectors(vectors)

    def rate_vectors(self, vectors: NDArray[np.float32]) -> RatedTexts:
        """As `rate`, for texts already embedded: (T, 2E) note and post embeddings side by side."""
        import torch

        n_jurors, n = len(self._first), len(vectors)
        out = np.empty((n_jurors, n, 3), dtype=np.float32)
        with torch.inference_mode():
            shares = torch.from_numpy(np.ascontiguousarray(vectors)) @ self._layers[0][0][2:]  # (T, 2048)
            second, second_bias = self._layers[1]
            for t in range(n):
                share = shares[t]
                hidden = torch.empty(n_jurors, second.shape[1])
                everywhere = self._low + share >= 0
                common = self._affine(everywhere, share)
                for group, (low, high) in zip(self._groups, self._spans, strict=True):
                    on = low + share >= 0
                    here = torch.nonzero(on & ~everywhere)[:, 0]
                    some = torch.nonzero(~on & (high + share > 0))[:, 0]
                    raters = self._raters[group]
                    rows = common + self._affine(here, share)
                    mixed = torch.relu_(raters @ self._juror[:, some] + share[some])
                    hidden[group] = torch.addmm(raters @ rows, mixed, second[some])
                hidden += second_bias
                torch.relu_(hidden)
                for weight, bias in self._layers[2:-1]:
                    hidden = torch.relu_(torch.addmm(bias, hidden, weight))
                weight, bias = self._layers[-1]
                out[:, t] = torch.softmax(torch.addmm(bias, hidden, weight), dim=1).numpy()
        return RatedTexts(out, np.zeros(n), np.zeros(n), np.zeros((n, 3, 0), np.float32), ())


def text_vectors(texts: Sequence[JudgedText], encoder: Encoder) -> NDArray[np.float32]:
    """(T, 2E): note and post embeddings; a missing post is zeros."""
    notes = encoder.encode([t.text for t in texts])
    posts = encoder.encode([t.post_text or "" for t in texts])
    posts = posts * np.array(
        [[float(bool(t.post_text and t.post_text.strip()))] for t in texts], dtype=np.float32
    ).reshape(len(texts), 1)
    return np.concatenate([notes, posts], axis=1).astype(np.float32)


def train_paper_model(
    texts: Sequence[JudgedText], rating_text: NDArray[np.int64], intercept: Array, factor: Array, value: Array, encoder: Encoder,
    *, epochs: int = 4, seed: int = 0, batch: int = 512, learning_rate: float = 1e-3, progress=lambda *a, **k: None,
) -> PaperModel:  # fmt: skip
    """Train on ratings: `rating_text` indexes `texts`, the other arrays are per rating. Deterministic for one thread count."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    vectors = torch.from_numpy(text_vectors(texts, encoder))
    raters = torch.from_numpy(np.stack([factor, intercept], axis=1).astype(np.float32))
    answer = torch.from_numpy(np.rint(2 * value).astype(np.int64))
    of_text = torch.from_numpy(rating_text)
    network = build_network(2 + vectors.shape[1])
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    loss_of = torch.nn.CrossEntropyLoss()
    for epoch in range(epochs):
        order = torch.randperm(len(answer), generator=generator)
        for begin in range(0, len(order), batch):
            rows = order[begin : begin + batch]
            x = torch.cat([raters[rows], vectors[of_text[rows]]], dim=1)
            optimiser.zero_grad()
            loss = loss_of(network(x), answer[rows])
            loss.backward()
            optimiser.step()
        progress("training the paper's network", epoch + 1, epochs)
    linear = [m for m in network if isinstance(m, torch.nn.Linear)]
    return PaperModel([(m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy()) for m in linear], encoder)


def build_network(width: int):
    """The network as a torch module; 4,901,411 parameters at the paper's own input width of 1026."""
    import torch

    parts: list[torch.nn.Module] = []
    previous = width
    for k, size in enumerate(WIDTHS):
        parts.append(torch.nn.Linear(previous, size))
        if k < len(WIDTHS) - 1:
            parts.append(torch.nn.ReLU())
            if k in DROPOUT:
                parts.append(torch.nn.Dropout(DROPOUT[k]))
        previous = size
    return torch.nn.Sequential(*parts)


def save_paper_model(model: PaperModel, directory: Path) -> None:
    """Write `paper.safetensors` (float32, about 17 MB)."""
    from safetensors.numpy import save_file

    arrays = {}
    for k, (weight, bias) in enumerate(model.layers):
        arrays[f"layer{k}.weight"], arrays[f"layer{k}.bias"] = np.ascontiguousarray(weight), np.ascontiguousarray(bias)
    save_file(arrays, str(Path(directory) / "paper.safetensors"))


def load_paper_model(directory: Path, encoder: Encoder) -> PaperModel:
    from safetensors.numpy import load_file

    arrays = load_file(str(Path(directory) / "paper.safetensors"))
    return PaperModel([(arrays[f"layer{k}.weight"], arrays[f"layer{k}.bias"]) for k in range(len(WIDTHS))], encoder)
