"""The models that answer: where bundles come from, how all workers switch to one, the canary and the shadow model."""
