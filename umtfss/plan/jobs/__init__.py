"""The settings of each rule's script: one file and one frozen dataclass a rule."""
