"""recordings -> models: training, export and the catalogue of models that ship; torch stays in here."""
