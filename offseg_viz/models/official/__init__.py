"""The authors' published checkpoints: read without executing anything, recognised, renamed, loaded strictly."""
