"""The errors of maskmill, by who must act; see `maskmill.schemas.errors`."""

from maskmill.schemas.errors import (
    ConfigError,
    InputDataError,
    MaskmillError,
    ShardCorruptError,
    StaleArtifactError,
    TransientStorageError,
)

__all__ = [
    "ConfigError",
    "InputDataError",
    "MaskmillError",
    "ShardCorruptError",
    "StaleArtifactError",
    "TransientStorageError",
]
