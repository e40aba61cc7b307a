"""NHN Cloud as one of the sandbox's dealers: KakaoTalk Bizmessage (AlimTalk v2.3, brand message v1.0) and SMS v3.0."""
