"""The words of model ids that mark kinds, stages and variants."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KINDS: dict[str, str] = {
    word: kind
    for kind, words in {
        "embedding": "embed embedding embeddings",
        "rerank": "rerank reranker reranking",
        "moderation": "moderation guard guardian safeguard safety classification",
        "image": "image images imagen imagine dall",
        "video": "video videos sora veo",
        "audio": "audio tts stt asr speech voice transcribe transcription translate whisper music lyria",
        "realtime": "realtime live",
        "ocr": "ocr",
    }.items()
    for word in _words(words)
}
"""Words that mark a model as something other than chat, and the kind they mark. A few are names of products: neither their ids
nor most lists say otherwise what they are for."""

STAGES = _words("preview exp experimental beta alpha rc labs nightly canary")
"""Words that mark a model as not yet generally available."""

VARIANTS = _words(
    "mini nano lite micro codex max spark chat fast highspeed thinking thought think reasoner research search agent"
    " customtools omni vision vl robotics code coder math prover distill tuning tuned extended free batch exacto"
    " high low cli paygo creative oss base zero air"
)
"""Words after the first that mark a special edition of a model."""

LINES = _words("pro flash ultra plus")
"""Words that mark an edition in some series and the series itself in others; the catalogue tells which."""

MAKES = _words("turbo")
"""Words that behind a version mark a later make of it rather than an edition beside it."""

NEUTRAL = _words("instruct it hf gguf versatile instant default sol vscode")
"""Words that say nothing about how much model one gets."""
