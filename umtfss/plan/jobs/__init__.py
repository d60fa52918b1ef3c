"""What each rule's script is given: one file and one frozen dataclass a rule."""
