"""SPF (RFC 7208): whether receivers accept mail of a domain from an address."""

from .resolver import Ask, Unanswered

PATIENCE = 60.0  # seconds for all questions about one address


def passes(ask: Ask, domain: str, address: str) -> bool:
    """Whether *address* may send *domain*'s mail: SPF says pass, and nothing less. Raises Unanswered."""
    import spftrace

    class Resolver(spftrace.BaseResolver):
        """Looks names up by *ask*."""

        async def _lookup(self, name: str, rtype: str) -> tuple[str, list[str]]:
            answers = ask(name, rtype)
            if rtype == "MX":
                answers = tuple(answer.split()[1].rstrip(".") for answer in answers)
            return spftrace.resolver.NOERROR, list(answers)

    verdict = spftrace.check(address, f"postmaster@{domain}", resolver=Resolver(), time_limit=PATIENCE).verdict
    if verdict == "temperror":
        raise Unanswered(f"SPF of {domain}: no answer within {PATIENCE:.0f} s")
    return verdict == "pass"
