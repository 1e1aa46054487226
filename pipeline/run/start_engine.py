"""Start the engine that a run file asks for."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.stage import Engine
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.run_file import EngineSection


def start_engine(settings: EngineSection, output: Store, input_urls: Sequence[str] = ()) -> Engine:
    """Start an engine; Ray's first makes sure that every node sees the output and the first input.

    Raises:
        ConfigError: Ray is not installed, does not start, or a node sees other files.
    """
    if settings.kind == "local":
        return LocalEngine(settings.workers)
    from maskmill.pipeline.engine.ray_engine import RayEngine

    engine = RayEngine(settings.workers, settings.address)
    try:
        engine.probe(output, list(input_urls[:1]))
    except BaseException:
        engine.close()
        raise
    return engine
