"""The processes of the Procfile that do the work: worker, clock, and their supervisor."""
