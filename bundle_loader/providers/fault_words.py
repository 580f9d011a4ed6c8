"""The vendors' wordings for what went wrong, as patterns, and the words of an error made fit for them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Final

_LONGEST: Final = 4000
"""Characters of a message that are read: the vendor's own words come first."""
_PAGE = re.compile(r"\s*(?:<!doctype|<html|<head|<body|<\?xml|<center|<title)", re.IGNORECASE)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_QUOTED = re.compile(
    r'"[^"\n]{0,2000}"|`[^`\n]{0,2000}`|“[^”\n]{0,2000}”|«[^»\n]{0,2000}»|(?<!\w)\'[^\'\n]{0,2000}\'(?!\w)|["“«`][^"”»`]{200,}$'
)


def is_page(text: str) -> bool:
    """True for an HTML page: it is a proxy's or a gateway's, and its words are about that."""
    return bool(_PAGE.match(text))


def without_tags(text: str) -> str:
    """The words of a page, on one line."""
    return " ".join(_TAGS.sub(" ", text).split())


def plain(message: str) -> str:
    """A message as the patterns read it.

    What it quotes is left out, since names and pieces of the prompt stand there, and so are addresses: a rate limit often
    names the page on which more can be bought.
    """
    return _QUOTED.sub("''", _ADDRESS.sub("", message[:_LONGEST]))


class _Words:
    """Patterns of which one is enough, compiled when an error is first read."""

    def __init__(self, *patterns: str) -> None:
        self._patterns = patterns

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        """Find one of them in a text."""
        return re.compile("|".join(self._patterns), re.IGNORECASE).search


TOO_LONG: Final = _Words(
    r"exceed_context_size",
    r"context_length_exceeded",
    r"request_too_large",
    r"model_context_window_exceeded",
    r"string_above_max_length",
    r"(exceed\w*|over|beyond|larger than|longer than|greater than|overflow\w*|too (long|large|big) for)\b[^.]{0,60}"
    r"\bcontext( |_|-)?(length|window|size|limit)?",
    r"context( |_|-)?(length|window|size|limit)\b[^.]{0,40}(exceed|overflow|reached|too (small|long))",
    r"context the overflows|context overflows?\b|context size has been exceeded",
    r"maximum context|max(imum)? (prompt|input|model|sequence) (length|tokens)|model max length exceeded",
    r"prompt (is|was) too (long|large)|prompt contains \d+ tokens",
    r"too many (input |prompt )?tokens\b(?! per)",
    r"model token limit",
    r"(input|prompt|messages?|request|conversation)\b[^.]{0,40}\b(too long|exceed(s|ed)?)\b[^.]{0,60}"
    r"(tokens?|token limit|length|context|maximum)(?!s? per)",
    r"input length\b[^.]{0,60}\bexceed",
    r"token count\b.{0,40}exceeds",
    r"reduce the length of (the|your) (messages|prompt|input)",
    r"max_(completion_)?tokens must be at least 1, got -",
    r"reduce (?:your|the) (?:prompt|input)\b(?! (?:rate|price|tokens per))",
    r"larger context length",
    r"\b(input|prompt) is too long\b|maximum input is \d+|range of input length should be",
    r"inputs?\b[^.]{0,60}\bmust (have less than|be <=?) \d+|total tokens \d+ exceeds?",
)
CAP_OF_ANSWER: Final = _Words(
    r"max_(completion_|output_)?tokens\b[^.]{0,30}(too large|too high|must be less than|must be <|> \d|exceeds|should be less)",
    r"max_(completion_|output_)?tokens: \d+ >",
    r"supports at most \d+ (completion|output) tokens",
    r"maximum (allowed )?(number of )?(output|completion) tokens",
)
"""A value of `max_tokens` that this model does not take; it often goes on about the context window."""
PART_OF_BALANCE: Final = _Words(
    r"\bcan only afford (?!0\b)\d",
    r"\bcredits?,? or (?:use |set |request )?(?:fewer|less|a lower|a smaller) (?:max_\w*tokens|tokens)\b(?!.{0,160}\bafford 0\b)",
    r"prompt tokens limit exceeded",
)
"""Money that is there, and too little for the length of this one answer or prompt."""
ANY_QUOTA: Final = re.compile(
    r"you exceeded your current quota\b(?:, please check your plan and billing details)?", re.IGNORECASE
)
"""What is said of spent money and of a minute's limit in the same words."""
QUOTA: Final = _Words(
    r"insufficient[_ ](quota|credits?|balance|funds)",
    r"exceeded[_ ](your |the )?current[_ ]quota",
    r"credit[_ ]balance",
    r"billing[_ ]?(hard[_ ]limit|error|not[_ ]active|disabled|unavailable|details|issue|is not)",
    r"(check|enable|update) (your )?(plan and )?billing",
    r"payment required|add a payment method to (use|continue)",
    r"out of credits?|run out of (credits?|funds)|not enough (credits?|balance|funds)|no credits? (left|remaining)",
    r"(more|additional) credits\b",
    r"(included|available|prepaid|free) credits\b",
    r"account balance (is|has|too)|balance is (too low|negative|insufficient)|arrearage|overdue",
    r"spend(ing)?[_ ](limit|cap)|credits (are|have been|is) (depleted|exhausted|used up)|(?<!api )key limit exceeded",
    r"usage limits?\b[^.]{0,40}regain|api usage limits",
    r"exceeded your (monthly|total|account) (quota|budget|limit|usage)",
    r"(?<!thinking )(?<!token )(?<!tokens )(?<!reasoning )\bbudget (?:has been |was |is )?exceeded|\bexceeded ?budget: "
    r"|\bexceeded budget for\b|\b(?:key|user|team|organization|provider)\b[^.]{0,60}\bover budget\b",
)
ACCOUNT: Final = _Words(
    r"organization_on_hold|cmek_key_(disabled|network_blocked)|consumer_suspended|service_disabled|account_deactivated",
    r"access_terminated|ip_not_authorized|user_suspended|billing_disabled",
    r"(organization|account|project|workspace|team|user|consumer)\b[^.]{0,80}\b(has been|is|was) "
    r"(disabled|suspended|deactivated|blocked|banned|terminated|on hold|not active|inactive)",
    r"has not been used in project|api\b[^.]{0,40} is (disabled|not enabled)\b",
    r"ip (address )?(is )?not (authorized|allowed)|not an authorized ip",
)
"""What is about the account, the key's place or its project, not about the request."""
PLACE: Final = _Words(
    r"unsupported_country|user location is not supported|(country|region|territory)\b[^.]{0,30}not (supported|available)"
    r"|not available in your (country|region)"
)
"""A place from which the vendor does not serve; with 403 it may be one model only."""
BAD_KEY: Final = _Words(
    r"api[_ ]key (is )?(not valid|invalid|expired|missing|incorrect|revoked|disabled|blocked)",
    r"(invalid|incorrect|expired|missing|revoked|malformed|no) (api[_ -]?key|x-api-key|authorization|bearer|access token)\b",
    r"(invalid|missing|no) credentials\b",
    r"invalid_api_key|api_key_invalid|api_key_(service_)?blocked|authentication_error|invalid_authentication",
    r"(api )?key (has been|was|is) (disabled|revoked|deleted|expired|blocked|deactivated)",
    r"\b(?:security|access|session|bearer|refresh|auth|identity) token\b[^.]{0,40}\b(?:is|has|was) (?:been )?"
    r"(?:expired|invalid|not valid|revoked)\b|\btoken has been expired or revoked|expired_?token_?exception"
    r"|unrecognized_?client_?exception|request signature we calculated|\bsignature (?:has )?expired\b",
    r"key was reported as leaked|unregistered callers|unauthenticated",
)
UNKNOWN_MODEL: Final = _Words(
    r"model[_ ]not[_ ](found|exist|supported|available)",
    r"unknown[_ ]model|invalid[_ ]model\b(?! (parameter|input|output))|no such model",
    r"not the model\b|model_decommissioned|deployment_?not_?found",
    r"\bmodels?\b:?\s*(?:[\w./:@-]+|'')?\s*(?:was |is |has been |could )?(?:does not exist"
    r"|doesn't exist|not exist\b|not found|not be found"
    r"|not available|not supported (?:for|by any|in the)|decommissioned|deprecated|no longer (?:available|supported)|retired)",
    r"\bmodel:?\s+(?!does\b|this\b|the\b|which\b)(?:[\w/-]*[\d./:@-][\w./:@-]*|'')\s+is (?:not supported|unsupported"
    r"|unavailable)",
    r"unsupported model\b",
    r"not a valid model|not a chat model|no models? loaded|pull(ing)? it first|no endpoints found for|is not served by",
    r"does not have access to (the )?model|no deployment for model",
    r"\bmodel (?:identifier|id|name)\b(?: (?:[\w/-]*[\d./:@-][\w./:@-]*|''))? (?:is|was) (?:invalid|not valid|unknown)\b",
    r"\bon-demand throughput (?:is not|isn.?t) supported",
    r"\bllm provider not provided|\bmodel version has reached the end of its life",
)
SAFETY: Final = _Words(
    r"content[_ -]?(filter|policy|management|moderation|violation)|content_policy_violation|responsible[_ ]?ai",
    r"\bsafety[_ -](system|policy|policies|setting|filter|block|check|reason|guidelines|violation)",
    r"blocked by (our |the )?(content|safety|moderation|usage|responsible|azure|google|openai|anthropic|model armor|guardrail)",
    r"prohibited[_ ]content|prompt_blocked|moderation[_ ](block|error|blocked)|moderation_blocked|requires moderation",
    r"(prompt|input|content|request|message|output|response)\b[^.]{0,40}\b(was|were|is|been) (flagged|blocked)\b",
    r"violat\w+ (of )?(our |the |openai's |anthropic's |azure openai's )?(usage|content|acceptable|safety)\b",
    r"content exists risk|considered high risk|data_?inspection_?failed|inappropriate content|sensitive content",
    r"guardrail_intervened|safety_check_type|cyber_policy|bio_policy",
)
UNSUPPORTED: Final = _Words(
    r"unsupported[_ ](parameter|value|modality|media|content|file|image|tool|model_feature)",
    r"unknown[_ ]parameter|not_supported_error",
    r"(this )?model only supports|at most \d+ (image|audio|video|file)|is only supported by|\btools\.\d+\.(?:\w+\.)*name\b",
    r"unsupported (response_format|tool_choice|role)",
    r"unrecognized (request )?(argument|parameter|field|key)|unexpected keyword argument|unknown (field|argument|name '')",
    r"extra[_ ](inputs are not permitted|forbidden|fields not permitted)|additional properties are not allowed",
    r"\b(does(n't| not)|do not|don't) (currently )?support\b",
    r"no endpoints found that support",
    r"\b(is|are) not (currently )?(supported|enabled|implemented)\b|not supported (with|by|for|when|in|on)\b|is unsupported\b",
    r"missing data required for image|unsupported (mime|media) ?type",
    # what another account, or another model, sealed
    r"encrypted content\b.{0,80}could not be (verified|decrypted)|thought[_ ]signature|invalid '' in '' block",
    r"deprecated for this model|cannot both be specified|not allowed for this model|not compatible with (this model|tools)",
    r"invalid[_ ](tool|function)[\w ]{0,20}[_ ]?(schema|name|declaration|parameters)|invalid[_ ](json[_ ])?schema",
    r"\b(tools?|functions?|function_declarations|parameters|response_format|json_schema|output_config)\b[\w.\[\]-]{0,60}"
    r"(input_schema|parameters|json_schema|\.schema|properties)\b",
    r"function_declarations|(tool|function) (calling|use|choice) (is )?(not|requires|unsupported)",
    r"\btool[_ ]call[_ ]?ids?\b[^.]{0,80}\b(?:must be a-z|must match|must only contain|with a length of)",
    r"\btool_(?:use|result|call)\w*\.(?:tool_use_)?id: string should match",
    r"invalid_request_message_order|expected last role\b|unexpected role '' after|conversation roles must alternate",
    r"\b(?:images?|pictures?|documents?|pdfs?|files?|audio|videos?)\b (?:size |file )?exceeds? (?:the |a )?"
    r"(?:\d[\d.]* ?[kmg]i?b\b|max(?:imum)?\b|size limit|limit of)",
    r"\b(?:image|picture)[_ ](?:dimensions?|resolution)[_ ](?:is |are )?(?:too[_ ]large|exceeds?\b)",
    r"must contain the word '' in some form",
    r"tool choice requires|param requires --|requires --jinja|mmproj",
    r"invalid schema for (function|tool|response_format)|string should match pattern .{0,60}tool|expected a function name",
)
RATE: Final = _Words(
    r"rate[_ -]?limit", r"too many requests", r"resource[_ ]?exhausted", r"throttl", r"tokens_limit|requests_limit"
)
PER_DAY: Final = _Words(
    r"per[ _-]?(day|month|week)\b|perday|permonth|\b(daily|weekly|monthly)\b|_daily\b|\b[rt]pd\b|day limit|limit: 0\b"
)
"""A limit that does not come back in the time of one piece of work."""
PER_MINUTE: Final = _Words(r"per[ _-]?(min(ute)?|second|hour)\b|\b[rt]pm\b")
OVERLOADED: Final = _Words(
    r"overload",
    r"server_error|internal[_ ](server[_ ])?error|api_error|timeout_error|timed? ?out|deadline exceeded",
    r"\bunavailable\b(?! (tool|function|field|parameter|in your|for this))",
    r"temporarily|try again|over capacity|at capacity|capacity exceeded|capacity_exceeded|server (is )?busy|engine is currently",
    r"currently loading|loading model|model is loading|still loading|failed to load model|upstream (error|connect|request)",
)
LOADING: Final = _Words(
    r"model is (currently|temporarily) unavailable|currently loading|loading model|model is (still )?loading",
    r"failed to load model|model is unloaded|\boverloaded_error\b",
    r"\b(?:model|engine|server)\b:?(?: (?:[\w/-]*[\d./:@-][\w./:@-]*|''))? (?:is|was) (?:(?:still|currently|temporarily|now) )?"
    r"(?:overloaded|busy|loading|unloading|starting up|not (?:yet |currently )?ready|(?:at|over) capacity)\b"
    r"(?! with (?!other|requests))",
)
