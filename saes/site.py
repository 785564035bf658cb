"""Where the vectors of a sparse autoencoder are read: one vector a token, at a hook of any family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.selection import head_axis
from workbench.model import HookedModel
from workbench.steps import EverySoManySteps

Keep = Callable[[Tensor, HookPoint], None]
Change = Callable[[Tensor], Tensor]
ChangeAt = Callable[[Tensor, range], Tensor]


@dataclass(frozen=True, eq=False)
class VectorSite:
    """One vector a token: what passes at a hook, or one head of it, or a recurrent state, flattened or in a subspace.

    `of` makes one from the names that people use.

    Attributes:
        hook: canonical hook name.
        head: one head of a tensor that has heads; None for all of them, side by side.
        every: only every so many-th token is read, and edited: tokens ``every - 1``, ``2 * every - 1``, ... of a text.
            A recurrent state changes slowly and takes `key * value` numbers a head and token, so 8 or 16 suit it.
        basis: orthonormal rows that span the subspace a vector is read in, in which an edit moves it; what lies outside
            stays as it is. None for the whole space.
    """

    hook: str
    head: int | None = None
    every: int = 1
    basis: Float[Tensor, "rank features"] | None = None

    @classmethod
    def of(
        cls,
        model: HookedModel,
        hook: str,
        *,
        head: int | None = None,
        every: int = 1,
        basis: Float[Tensor, "rank features"] | None = None,
    ) -> VectorSite:
        """The site that a name means in a model.

        Args:
            hook: a canonical name, an alias, or anything else that ``model.points`` takes, meaning one hook.

        Raises:
            HookNameError: no hook is called that.
            InputError: the name means several hooks, or a hook without one vector a token; a head that is not there; a
                basis that is not orthonormal.
        """
        names = model.points.select(hook)
        if len(names) > 1:
            raise InputError(
                f"{hook} means {len(names)} hooks, {names[0]} to {names[-1]}; an autoencoder reads one: name its layer."
            )
        point = model.points[names[0]]
        if point.axes[:2] != ("batch", "time") and not point.per_step:
            raise InputError(
                f"{point.name} has the axes [{', '.join(point.axes)}]; an autoencoder reads one vector a token."
            )
        if head is not None and head_axis(point) is None:
            raise InputError(f"{point.name} is not split into heads: its axes are {', '.join(point.axes)}.")
        if every < 1:
            raise InputError(f"every is {every}; 1 reads every token, 8 one in eight.")
        if basis is not None:
            gram = basis.double() @ basis.double().T
            if not torch.allclose(gram, torch.eye(len(basis), dtype=gram.dtype, device=gram.device), atol=1e-4):
                raise InputError("The rows of a basis are orthonormal; torch.linalg.qr makes them so.")
        return cls(point.name, head, every, basis)

    def __str__(self) -> str:
        head = "" if self.head is None else f" head {self.head}"
        every = "" if self.every == 1 else f", one token in {self.every}"
        rank = "" if self.basis is None else f", rank {len(self.basis)}"
        return f"{self.hook}{head}{every}{rank}"

    @property
    def stop_at_layer(self) -> int | None:
        """The first layer that need not run for the vectors to be read; None where all must."""
        return int(self.hook.split(".")[1]) + 1 if self.hook.startswith("blocks.") else None

    def width(self, model: HookedModel) -> int:
        """Numbers a vector has in this model; runs two tokens."""
        seen: list[int] = []
        start = VectorSite(self.hook, self.head, 1, self.basis)
        model.run_with_hooks(
            torch.zeros(1, 2, dtype=torch.long, device=model.cfg.device),
            fwd_hooks=[start.reader(model, lambda vectors, hook: seen.append(vectors.shape[-1]))],
            return_type=None,
            stop_at_layer=self.stop_at_layer,
        )
        return seen[0]

    def positions(self, time: int) -> range:
        """The tokens of a text of `time` tokens that are read."""
        return range(self.every - 1, time, self.every)

    def check_long_enough(self, time: int) -> None:
        """Refuse a text of which no token is read. Raises InputError."""
        if not len(self.positions(time)):
            raise InputError(f"One token in {self.every} is read at {self.hook}, and the text has {time}.")

    def read(self, tensor: Tensor, hook: HookPoint) -> Float[Tensor, "batch *time d_in"]:
        """The vectors in what passed at the hook: ``[batch, time, d_in]``, of a state ``[batch, d_in]``.

        All tokens are in it, whatever `every` says.
        """
        flat = self._flat(tensor, hook)
        return flat if self.basis is None else flat @ self.basis.to(flat).T

    def written(self, tensor: Tensor, hook: HookPoint, vectors: Float[Tensor, "batch *time d_in"]) -> Tensor:
        """What passed at the hook with its vectors replaced; the rest of it is unchanged."""
        flat = self._flat(tensor, hook)
        if self.basis is None:
            new = vectors.to(flat.dtype)
        else:
            basis = self.basis.to(flat)
            new = flat + (vectors.to(flat.dtype) - flat @ basis.T) @ basis
        if self.head is None:
            return new.reshape(tensor.shape)
        axis = self._head_axis(tensor, hook)
        index = torch.tensor([self.head], device=tensor.device)
        return tensor.index_copy(axis, index, new.reshape(tensor.select(axis, self.head).shape).unsqueeze(axis))

    def reader(self, model: HookedModel, keep: Keep) -> tuple[str, HookFunction]:
        """A hook that calls ``keep(vectors, hook)`` with ``[batch, positions, d_in]``, of a state ``[batch, d_in]``.

        A state's `keep` is called once for each of `positions`, with ``hook.step`` saying which; between them the
        recurrence runs at full speed.
        """

        def look(tensor: Tensor, hook: HookPoint) -> None:
            vectors = self.read(tensor, hook)
            keep(vectors if hook.per_step else vectors[:, self.every - 1 :: self.every], hook)

        return self.hook, EverySoManySteps(look, self.every) if model.points[self.hook].per_step else look

    def editor(self, model: HookedModel, change: Change) -> tuple[str, HookFunction]:
        """A hook that puts ``change(vectors)`` in the place of the vectors that are read, while generating, too.

        Between the edits of a state the recurrence runs at full speed.

        Args:
            change: ``[..., d_in]`` to ``[..., d_in]``.
        """
        return self.editor_at(model, lambda vectors, at: change(vectors))

    def editor_at(self, model: HookedModel, change: ChangeAt) -> tuple[str, HookFunction]:
        """`editor` for a change that depends on the token: ``change(vectors, positions)``.

        Args:
            change: takes ``[batch, positions, d_in]`` and the positions, counted from the start of the text; of a state
                ``[batch, d_in]`` and its one position.
        """

        def edit(tensor: Tensor, hook: HookPoint) -> Tensor | None:
            if hook.step is not None:
                return self.written(tensor, hook, change(self.read(tensor, hook), range(hook.step, hook.step + 1)))
            vectors = self.read(tensor, hook)
            past = model.past
            # Tokens count from the start of the text, of which earlier calls may have read a part.
            first = (self.every - 1 - past) % self.every
            at = range(past + first, past + vectors.shape[1], self.every)
            if not len(at):
                return None
            if self.every == 1:
                return self.written(tensor, hook, change(vectors, at))
            vectors = vectors.clone()
            vectors[:, first :: self.every] = change(vectors[:, first :: self.every], at)
            return self.written(tensor, hook, vectors)

        if model.points[self.hook].per_step and self.every > 1:
            return self.hook, EverySoManySteps(edit, self.every)
        return self.hook, edit

    def _flat(self, tensor: Tensor, hook: HookPoint) -> Tensor:
        if self.head is not None:
            axis = self._head_axis(tensor, hook)
            if not 0 <= self.head < tensor.shape[axis]:
                raise InputError(f"Head {self.head} is out of range: {hook.name} has 0 to {tensor.shape[axis] - 1}.")
            tensor = tensor.select(axis, self.head)
        return tensor.flatten(1) if hook.per_step else tensor.flatten(2)

    def _head_axis(self, tensor: Tensor, hook: HookPoint) -> int:
        axis = head_axis(hook)
        if axis is None:
            raise InputError(f"{hook.name} is not split into heads: its axes are {', '.join(hook.axes)}.")
        return axis


def read_vectors(
    model: HookedModel,
    tokens: Int[Tensor, "batch time"],
    sites: Sequence[VectorSite],
    mask: Tensor | None = None,
    *,
    to_the_end: bool = False,
) -> tuple[list[Tensor], Tensor | None]:
    """What passes at sites in one forward pass.

    Args:
        mask: 1 or True at tokens, 0 at padding.
        to_the_end: run all layers and give the logits, too; else no further than the sites need.

    Returns:
        For each site ``[batch, positions, d_in]``; logits ``[batch, time, vocabulary]`` or None.

    Raises:
        InputError: the text is shorter than it takes to read one state.
    """
    seen: list[list[Tensor]] = [[] for _ in sites]

    def keeper(into: list[Tensor]) -> Keep:
        def keep(vectors: Tensor, hook: HookPoint) -> None:
            into.append(vectors.detach().unsqueeze(1) if hook.per_step else vectors.detach())

        return keep

    for site in sites:
        if model.points[site.hook].per_step:
            site.check_long_enough(tokens.shape[1])
    stops = [site.stop_at_layer for site in sites]
    needed = [stop for stop in stops if stop is not None]
    early = needed and len(needed) == len(stops) and not to_the_end
    with torch.no_grad():
        logits = model.run_with_hooks(
            tokens,
            fwd_hooks=[site.reader(model, keeper(into)) for site, into in zip(sites, seen, strict=True)],
            attention_mask=mask,
            return_type="logits" if to_the_end else None,
            stop_at_layer=max(needed) if early else None,
        )
    return [torch.cat(parts, dim=1) for parts in seen], logits if to_the_end else None
