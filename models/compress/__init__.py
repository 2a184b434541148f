"""Models, made smaller and faster; what each step costs is measured in the run that takes it."""
