"""A study of more than one kind of each thing, for tests of how work is stored and shared out."""


def widened(study):
    """A study with two attacks and two methods, its last network a ViT."""
    *others, last = study["models"]
    return {
        **study,
        "models": [*others, {**last, "timm": "test_vit"}],
        "attacks": ["fgsm", {"name": "pgd", "pgd": {"steps": 2}}],
        "explain": {**study["explain"], "methods": ["gradcam", "layercam"]},
    }
