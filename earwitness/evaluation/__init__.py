"""How good a model is: labelled recordings -> figures, through the pipeline that runs live."""
