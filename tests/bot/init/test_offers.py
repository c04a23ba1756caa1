"""Chats in updates of Telegram, as the Bot API describes them."""

import pytest

from bot.init.offers import ChatOffer, chats_in

CHANNEL = {"id": -1001234567890, "type": "channel", "title": "Lowtide", "username": "lowtide"}
GROUP = {"id": -300, "type": "supergroup", "title": "Desk"}
ANN = {"id": 11, "type": "private", "first_name": "Ann"}
OFFER = ChatOffer(id=-1001234567890, type="channel", title="Lowtide")


def message(**more: object) -> dict[str, object]:
    return {"message_id": 5, "date": 1_760_000_000, "from": {"id": 11, "first_name": "Ann"}, **more}


@pytest.mark.parametrize(
    ("update", "offers"),
    [
        ({"channel_post": message(chat=CHANNEL, sender_chat=CHANNEL)}, [OFFER]),
        ({"message": message(chat=ANN, forward_origin={
            "type": "channel", "chat": CHANNEL, "message_id": 3, "date": 1})}, [OFFER]),
        ({"message": message(chat=ANN, forward_origin={
            "type": "chat", "sender_chat": GROUP, "date": 1})},
         [ChatOffer(id=-300, type="supergroup", title="Desk")]),
        ({"message": message(chat=ANN, forward_origin={
            "type": "user", "sender_user": {"id": 5}, "date": 1})}, []),
        ({"message": message(chat=GROUP)}, [ChatOffer(id=-300, type="supergroup", title="Desk")]),
        ({"message": message(chat=ANN, text="/start")},
         [ChatOffer(id=11, type="private", first_name="Ann")]),
        ({"my_chat_member": {"chat": CHANNEL, "new_chat_member": {"status": "administrator"}}},
         [OFFER]),
        ({"my_chat_member": {"chat": CHANNEL, "new_chat_member": {"status": "kicked"}}}, []),
        ({"channel_post": {"chat": CHANNEL | {"id": 10**400}}}, []),
        ({"channel_post": {"chat": CHANNEL | {"id": "5"}}}, []),
        ({"message": ["?"], "channel_post": {"chat": CHANNEL}}, [OFFER]),
        ("?", []), (None, []), ({"edited_message": message(chat=GROUP)}, []),
    ],
)  # fmt: skip
def test_an_update_names_the_chats_that_alerts_could_go_to(
    update: object, offers: list[ChatOffer]
) -> None:
    assert list(chats_in(update)) == offers


def test_a_title_cannot_break_out_of_its_line() -> None:
    title = 'Low\ntide"\x1b[31m\u202e' + "x" * 200
    (offer,) = chats_in({"channel_post": {"chat": CHANNEL | {"title": title}}})
    assert str(offer).isprintable() and len(str(offer)) < 110
    assert str(offer).startswith('the channel Low\\ntide"\\x1b[31m\\u202e')
