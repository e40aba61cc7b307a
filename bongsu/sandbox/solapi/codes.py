"""SOLAPI's message status codes (solapi/documents, "상태 코드" table) and its HTTP refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.dealers.codes import REASONS

if TYPE_CHECKING:
    from shared.contracts.states import Channel

ACCEPTED = "2000"
WAITING = "3000"
DELIVERED = "4000"

UNKNOWN = "3048"

_KAKAO = {
    "not_kakao_user": "3104",
    "inactive_kakao_user": "3107",
    "blocked_channel": "3107",
    "template_mismatch": "3103",
    "template_not_found": "3105",
    "template_not_approved": "3105",
    "sender_profile_invalid": "3106",
    "sender_profile_blocked": "3106",
    "not_friend": "3102",
    "night_ban": "3108",
    "delivery_uncertain": WAITING,
}
"""SOLAPI has no code for "sent, and Kakao does not confirm": such a message never gets beyond 3000"""
_ANY = {
    "invalid_phone": "3010",
    "invalid_recipient": "3010",
    "invalid_request": "3011",
    "dealer_error": "3012",
    "kakao_unavailable": "3012",
    "sender_number_blocked": "3013",
    "handset_unreachable": "3040",
    "result_timeout": "3040",
    "no_subscriber": "3032",
    "spam_blocked": "3054",
    "opted_out": "3055",
    "carrier_error": "3053",
    "handset_unsupported": "3050",
    "sender_number_unregistered": "2062",
    "account_suspended": "2063",
    "no_balance": "2230",
}
_AT_REGISTRATION = {
    "dealer_error": "1024",
    "opted_out": "1060",
    "no_balance": "1030",
    "invalid_request": "1010",
    "template_not_approved": "1042",
    "template_not_found": "1042",
    "template_mismatch": "1043",
    "button_mismatch": "1044",
    "sender_profile_invalid": "1041",
    "sender_number_unregistered": "1062",
    "sender_number_blocked": "1064",
    "invalid_phone": "1011",
    "invalid_attachment": "1034",
    "content_charset": "1029",
    "content_too_long": "1031",
    "duplicate_suppressed": "1026",
    "carrier_error": "1058",
}


def code_for(word: str, channel: Channel) -> str:
    """Return SOLAPI's code for a reason of our taxonomy, one it has no word for being unknown; a code stays a code."""
    known = _ANY if channel.is_text else {**_ANY, **_KAKAO}
    return known.get(word, UNKNOWN if word in REASONS else word)


def code_at_registration(word: str) -> str:
    """Return the code by which SOLAPI refuses a message for a reason of our taxonomy; a code stays a code."""
    return _AT_REGISTRATION.get(word, "1010" if word in REASONS else word)


TEXTS = {
    "1010": "필수 입력 값이 입력되지 않았습니다.",
    "1011": "형식에 맞지 않습니다.",
    "1013": "SMS에는 제목을 입력할 수 없습니다.",
    "1014": "제목은 40바이트를 넘을 수 없습니다.",
    "1025": "잘못된 메시지 타입입니다.",
    "1026": "수신번호가 중복되었습니다.",
    "1028": "출력할 수 없는 문자가 포함되어 있습니다.",
    "1029": "표현할 수 없는 문자가 포함되어 있습니다.",
    "1030": "잔액이 부족합니다.",
    "1031": "길이 제한을 초과하였습니다.",
    "1032": "customFields 형식이 잘못되었습니다.",
    "1033": "kakaoOptions는 알림톡과 친구톡에만 쓸 수 있습니다.",
    "1034": "유효하지 않은 이미지 아이디입니다.",
    "1041": "유효하지 않은 채널입니다.",
    "1042": "유효하지 않은 템플릿입니다.",
    "1043": "등록된 템플릿과 내용이 다릅니다.",
    "1044": "잘못된 버튼입니다.",
    "1045": "잘못된 버튼 URL입니다.",
    "1046": "템플릿에 버튼이 있으나 입력되지 않았습니다.",
    "1047": "템플릿에 버튼이 없으나 입력되었습니다.",
    "1048": "버튼 URL이 너무 깁니다.",
    "1049": "버튼 이름이 너무 깁니다.",
    "1050": "버튼이 너무 많습니다.",
    "1051": "유효하지 않은 카카오 이미지입니다.",
    "1052": "버튼 순서가 템플릿과 다릅니다.",
    "1062": "등록되지 않은 발신번호입니다.",
    "2000": "정상 접수(이통사로 접수 예정)",
    "3000": "이통사로 접수 완료(리포트 대기)",
    "3010": "잘못된 수신번호입니다.",
    "3012": "협력사 서버 오류",
    "3024": "서버 오류",
    "3031": "발송할 수 없습니다.",
    "3032": "가입자가 아닙니다.",
    "3040": "전송 시간 초과",
    "3041": "단말기 통화중",
    "3042": "음영지역",
    "3043": "단말기 전원 꺼짐",
    "3044": "단말기 메시지 저장 개수 초과",
    "3045": "단말기 일시 서비스 정지",
    "3047": "착신거절",
    "3054": "스팸",
    "3102": "친구가 아닙니다.",
    "3103": "템플릿과 메시지가 다릅니다.",
    "3104": "카카오톡을 사용하지 않는 사용자입니다.",
    "3107": "72시간 이내 카카오톡 사용 이력이 없거나 알림톡을 차단하였습니다.",
    "4000": "수신 완료",
}


def text_of(code: str) -> str:
    """Return what the dealer says to a code."""
    return TEXTS.get(code, "알 수 없는 상태")


@dataclass(eq=False)
class Refused(Exception):
    """An HTTP error of the dealer; the body names ``error_code`` and ``error_message``."""

    status: int
    error_code: str
    error_message: str
    headers: dict[str, str] = field(default_factory=dict)

    def as_body(self) -> dict[str, str]:
        """Return the body of the answer; that of a 429 has another shape."""
        if self.status == 429:  # noqa: PLR2004 - the one status with a body of its own
            return {"message": self.error_message}
        return {"errorCode": self.error_code, "errorMessage": self.error_message}
