"""What the demo prints at its end: figures that a shop owner understands, and whether the promises held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bongsu.audit import Finding
from bongsu.cli.output import print_message
from bongsu.demo.feed import Fed
from bongsu.demo.outage import DOWN, FROM, UNTIL, Hour, Stopped
from shared.clock import SEOUL

_REASONS = {
    "not_kakao_user": "has no KakaoTalk",
    "inactive_kakao_user": "KakaoTalk unused lately, or the channel is blocked",
    "blocked_channel": "blocked the channel",
    "dealer_error": "the dealer's own failure",
    "dealer_unavailable": "the dealer could not be reached, and did not have it",
    "auth_failed": "the dealer refused our credentials",
    "no_balance": "the account at the dealer is empty",
    "rate_limited": "over the dealer's limit, sent later",
    "opted_out": "opted out of messages",
    "template_mismatch": "the text differs from the inspected template",
    "handset_unreachable": "phone switched off or out of reach",
    "no_subscriber": "number not in service",
    "invalid_phone": "no number that the dealer takes",
    "invalid_request": "the dealer found fault with the request",
    "unknown": "a code that no table of ours has",
    "result_timeout": "no receipt ever came",
    "expired": "its deadline passed",
}
_PROMISES = (
    ("P1", "nothing lost: every accepted message has exactly one end"),
    ("P2", "nothing twice: nobody got a message twice over a channel"),
    ("P3", "delivered means that it arrived, and what arrived is called delivered"),
    ("P4", "each dealer's limit held in every sliding second"),
    ("P6", "nothing was sent in the hours of rest"),
    ("P8", "receipts late, repeated, contradictory: the ends are what happened"),
    ("P9", "the figures equal a recount of the ledger, to the unit"),
)
_SHADES = ((0.97, "green"), (0.93, "chartreuse3"), (0.88, "yellow3"), (0.8, "orange3"), (0.0, "red"))


@dataclass
class Report:
    """All that is printed. The figures are as the API gives them."""

    fed: Fed
    funnel: dict[str, Any]
    reasons: dict[str, Any]
    slots: dict[str, Any]
    costs: dict[str, Any]
    explained: list[dict[str, Any]]
    sandbox: dict[str, Any]
    hours: dict[str, dict[int, Hour]]
    """AlimTalks by dealer and hour of the day"""
    stopped: list[Stopped]
    limit: int
    """of each dealer"""
    findings: list[Finding]
    seconds: float = 0.0
    restarts: int = 0


def print_report(console: Console, report: Report) -> int:
    """Print ``report``; return 1 if a promise is broken, else 0."""
    _figures(console, report)
    _failures(console, report)
    _outage(console, report)
    _heatmap(console, report)
    console.print(f"\n[bold]{len(report.explained)} messages, explained[/] (bongsu explain ID)\n")
    for message in report.explained:
        print_message(message, console)
        console.print()
    return _verdict(console, report)


def _figures(console: Console, report: Report) -> None:
    funnel = report.funnel
    states, over = funnel["states"], funnel["delivered_over"]
    console.print("[bold]The day[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    share = f"{100 * states['delivered'] / max(1, funnel['messages']):.1f} % of all"
    table.add_row("events told", f"{report.fed.told:,}", _words(report.fed))
    table.add_row("messages", f"{funnel['messages']:,}", "")
    table.add_row("delivered", f"[green]{states['delivered']:,}[/]", share)
    table.add_row("  by AlimTalk", f"{over.get('alimtalk', 0):,}", "")
    table.add_row(
        "  by SMS or LMS", f"{over.get('sms', 0) + over.get('lms', 0):,}", f"{funnel['fell_back']:,} fell back"
    )
    table.add_row("failed", f"[red]{states['failed']:,}[/]", "for the reasons below")
    table.add_row("expired, cancelled", f"{states['expired'] + states['cancelled']:,}", "")
    table.add_row("double contacts", f"{funnel['double_contacts']:,}", "said to have failed, and arrived after all")
    for what, krw, remark in _costs(report.costs):
        table.add_row(what, f"{krw:,} KRW" if krw is not None else "-", remark)
    console.print(table)


def _words(fed: Fed) -> str:
    parts = [f"{fed.repeated:,} told again after no answer" if fed.repeated else ""]
    parts.append(f"{len(fed.refused)} refused ({fed.refused[0]})" if fed.refused else "")
    return ", ".join(part for part in parts if part)


def _costs(costs: dict[str, Any]) -> Iterator[tuple[str, int | None, str]]:
    total, texts = costs["cost_krw"], costs["all_sms_krw"]
    yield "cost", total, ""
    if texts:
        yield "  had each been an SMS", texts, f"saved {100 * (texts - total) / texts:.0f} %"


def _failures(console: Console, report: Report) -> None:
    console.print("\n[bold]Why attempts failed[/]")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("channel", "reason", "in words"):
        table.add_column(column)
    table.add_column("attempts", justify="right")
    counted: Counter[tuple[str, str]] = Counter()
    for row in report.reasons["reasons"]:
        counted[row["channel"], row["reason"]] += row["n"]
    for (channel, reason), n in counted.most_common(12):
        table.add_row(channel, reason, _REASONS.get(reason, ""), f"{n:,}")
    console.print(table)


def _outage(console: Console, report: Report) -> None:
    """Show around noon what went through whom, and what the stop of the dealer that went down did."""
    console.print(f"\n[bold]AlimTalks by dealer and hour[/]; {DOWN} was down from {FROM}:00 to {UNTIL}:00\n")
    console.print(Text("      " + "".join(f"{dealer:^24}" for dealer in report.hours).rstrip(), style="dim"))
    columns = "   sent  delv fail moved"
    console.print(Text("      " + columns * len(report.hours), style="dim"))
    for hour in range(FROM - 2, UNTIL + 2):
        line = Text(f"{hour}:00 ")
        for dealer, hours in report.hours.items():
            is_down = dealer == DOWN and FROM <= hour < UNTIL
            figures = hours.get(hour, Hour())
            line.append(f"{figures.sent:>7}{figures.delivered:>6}{figures.failed:>5}", style="red" if is_down else "")
            line.append(f"{figures.moved or '·':>6}", style="yellow" if figures.moved else "dim")
        console.print(line)
    console.print()
    for stopped in report.stopped:
        closed = f"let go at {stopped.closed.astimezone(SEOUL):%H:%M}" if stopped.closed else "still is"
        why = _REASONS.get(stopped.reason, stopped.reason)
        opened = f"{stopped.opened.astimezone(SEOUL):%H:%M}"
        console.print(f"{stopped.dealer} was stopped at {opened} ({why}) and {closed}", highlight=False)


def _heatmap(console: Console, report: Report) -> None:
    """Draw the hours of the week that were used: how many attempts, coloured by the share that was delivered."""
    console.print("\n[bold]Attempts by hour of the week[/] (Asia/Seoul); share delivered", end="  ")
    for floor, colour in _SHADES:
        console.print(Text(f" ≥{floor:.0%} " if floor else " less ", style=f"black on {colour}"), end="")
    console.print("\n")
    slots = report.slots["slots"]
    used = {slot["hour"] for slot in slots if slot["sent"]}
    hours = range(min(used, default=0), max(used, default=23) + 1)
    width = max(3, min(6, (console.width - 4) // len(hours)))
    console.print(Text("    " + "".join(f"{hour:>{width}}" for hour in hours), style="dim"))
    for day in range(7):
        line = Text(f"{slots[day * 24]['weekday'][:3]:<4}")
        for hour in hours:
            slot = slots[day * 24 + hour]
            line.append(f"{slot['sent'] or '·':>{width}}", style=_shade(slot["rate"]))
        console.print(line)


def _shade(rate: float | None) -> str:
    if rate is None:
        return "dim"
    return f"black on {next(colour for floor, colour in _SHADES if rate >= floor)}"


def _verdict(console: Console, report: Report) -> int:
    console.print("[bold]The promises, held against what the sandbox really sent[/]\n")
    broken = {finding.promise for finding in report.findings}
    for promise, words in _PROMISES:
        mark = "[red]✗ broken[/]" if promise in broken else "[green]✓[/]"
        console.print(f"  {mark} {promise} {words}", highlight=False)
    for finding in report.findings:
        console.print(f"  [red]{finding}[/]", highlight=False)
    counted = report.sandbox.get("counted", {})
    faults = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in sorted(counted.items()) if n)
    console.print(
        f"\n[dim]The sandbox sent {report.sandbox['dispatched']:,} messages, at most"
        f" {report.sandbox['max_in_a_second']} in a second through one dealer (limit {report.limit}). {faults}.[/]",
        highlight=False,
    )
    console.print(f"[dim]Took {report.seconds:.0f} s.[/]", highlight=False)
    return 1 if report.findings else 0
