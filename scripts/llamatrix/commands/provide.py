"""`invoke build` and `invoke weights`: what cells are measured with, made in advance."""

from llamatrix.commands.flags import SelectFlags, WeightsFlags
from llamatrix.commands.pending import find_pending, with_only_pin
from llamatrix.config.context import load_context
from llamatrix.progress import say
from llamatrix.provision.build import provide_build
from llamatrix.provision.weights.provide import provide_weights


def build(flags: SelectFlags) -> None:
    context = with_only_pin(load_context(flags.profile), flags.pin)
    pending = find_pending(context, flags.cells, hash_pins=True)
    cells = {f"{cell.pin_key}/{cell.build_key}": cell for cell in pending.engines}
    for name, cell in cells.items():
        built = provide_build(cell, pending.context.project.cache)
        say(f"build {name}: {built.folder}")


def weights(flags: WeightsFlags) -> None:
    context = load_context(flags.profile, weights_dir=flags.weights_dir)
    context = with_only_pin(context, flags.pin)
    pending = find_pending(context, flags.cells, ask_hub=True)
    for name, cell in {cell.weights_key: cell for cell in pending.engines}.items():
        provided = provide_weights(
            cell, context.project.cache, weights_dir=context.weights_dir
        )
        say(f"weights {name}: {provided.path}")
