"""Commands for analysts who take sound and labels elsewhere: export, timeline."""
