"""NHN's codes for reasons of our taxonomy: of results, and of refusals at acceptance."""

from __future__ import annotations

from shared.contracts.states import Channel

KAKAO = {
    "not_kakao_user": "3019",
    "inactive_kakao_user": "3018",
    "blocked_channel": "3020",
    "unsupported_client": "3021",
    "invalid_phone": "3008",
    "template_mismatch": "3016",
    "button_mismatch": "3027",
    "template_not_found": "3015",
    "template_not_approved": "4133",
    "sender_profile_blocked": "1007",
    "sender_profile_invalid": "1003",
    "delivery_uncertain": "3005",
    "kakao_unavailable": "9998",
    "kakao_config": "1002",
    "dealer_error": "4137",
    "night_ban": "3022",
    "expired": "4143",
    "quota_exceeded": "4156",
    "variable_too_long": "3025",
    "handset_unreachable": "3018",
}
TEXT = {
    "handset_unreachable": "2003",
    "no_subscriber": "3001",
    "invalid_phone": "3003",
    "handset_unsupported": "3010",
    "spam_blocked": "3012",
    "carrier_error": "3011",
    "sender_number_blocked": "3019",
    "invalid_attachment": "3016",
    "duplicate_suppressed": "E915",
    "night_ban": "E919",
    "dealer_error": "E900",
    "result_timeout": "2000",
}
RESULTS: dict[Channel | None, dict[str, str]] = {
    None: KAKAO,
    Channel.SMS: TEXT,
    Channel.LMS: TEXT,
    Channel.MMS: TEXT,
}
REFUSED = {
    "invalid_phone": "-5000",
    "opted_out": "-3301",
    "template_not_approved": "-3005",
    "template_mismatch": "-3010",
    "variable_too_long": "-3048",
    "sender_profile_blocked": "-1027",
    "ad_content": "-8008",
}
REFUSED_TEXT = {"invalid_phone": "-2019", "opted_out": "-6001", "content_charset": "-2023", "quota_exceeded": "-2052"}
