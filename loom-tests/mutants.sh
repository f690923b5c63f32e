#!/usr/bin/env bash
# Plants one mistake after another in a copy of src/ and expects the models to turn red for each.
# A mistake that no model notices means that the rule it breaks is not tested: exit 1.
#
#   ./mutants.sh             plant all
#   ./mutants.sh PATTERN     plant those whose name matches the regular expression
#   ./mutants.sh --check     only check, in a second, that each mistake still applies to the source
set -u
cd "$(dirname "$0")"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/mutants"
# A model that panics in one of loom's coroutines may leave the test harness locked: hence one at a
# time, uncaptured, and no further than the first.
export RUST_BACKTRACE=0
only_check=false
if [ "${1-}" = --check ]; then
  only_check=true
  shift
fi
pattern=${1-}
planted=0
survivors=0

# red OUTPUT: some model other than the canary, which must, has failed.
red() {
  grep -av canary "$1" | grep -aq "models::[a-z_:]* --- FAILED\|thread 'models::\|coroutine has overflowed\|signal: "
}

# plant NAME FILE PERL-SUBSTITUTION
plant() {
  [[ $1 =~ $pattern ]] || return
  planted=$((planted + 1))
  rm -rf "$copy/src" "$copy/loom-tests"
  cp -r ../src "$copy/src"
  mkdir "$copy/loom-tests"
  cp -r Cargo.toml Cargo.lock .cargo src "$copy/loom-tests/"
  perl -0pi -e "$3" "$copy/src/raw/$2"
  if cmp -s "$copy/src/raw/$2" "../src/raw/$2"; then
    echo "STALE     $1: the mistake no longer applies to $2"
    survivors=$((survivors + 1))
    return
  fi
  if $only_check; then
    return
  fi
  run_models
  # A model that hangs without a word says nothing either way: once more.
  if ! red "$copy/out" && ! grep -aqE '^error|^test result' "$copy/out"; then
    run_models
  fi
  if red "$copy/out"; then
    echo "caught    $1 ($(grep -av canary "$copy/out" | grep -ao "models::[a-z_:]*" | head -1))"
  else
    echo "SURVIVED  $1"
    grep -aE '^error|^test result' "$copy/out" | tail -3
    survivors=$((survivors + 1))
  fi
}

# Runs the models until one is red, all are through or it takes too long.
run_models() {
  (cd "$copy/loom-tests" && exec setsid cargo test -q -- --test-threads=1 --nocapture) >"$copy/out" 2>&1 &
  local run=$! waited=0
  # The first red is enough: what runs after it may hang.
  until red "$copy/out" || ! kill -0 "$run" 2>/dev/null || [ "$waited" -ge 300 ]; do
    sleep 1
    waited=$((waited + 1))
  done
  kill -9 -- "-$run" 2>/dev/null
  wait "$run" 2>/dev/null
}

# Orderings.
plant 'O1: a claim acquires nothing' bitmap.rs 's/fetch_and\(!mask, Ordering::Acquire\)/fetch_and(!mask, Ordering::Relaxed)/'
plant 'O2: an offer releases nothing' bitmap.rs 's/(compare_exchange\(.*?)Ordering::Release/$1Ordering::Relaxed/s'
plant 'O2: a put releases nothing' bitmap.rs 's/fetch_add\(place.mask\(\), Ordering::Release\)/fetch_add(place.mask(), Ordering::Relaxed)/'
plant 'O4: a request publishes nothing' requests.rs 's/fetch_add\(1, Ordering::AcqRel\)/fetch_add(1, Ordering::Relaxed)/'
plant 'O4: the dispatcher leaves without acquiring' requests.rs 's/fetch_sub\(answered, Ordering::AcqRel\)/fetch_sub(answered, Ordering::Relaxed)/'
plant 'O5: a grant releases nothing' waiter.rs 's/compare_exchange\(from, to, Ordering::AcqRel/compare_exchange(from, to, Ordering::Acquire/g'
plant 'O6, O7: a granted slot is not acquired' waiter.rs 's/state.load\(Ordering::Acquire\)/state.load(Ordering::Relaxed)/g; s/state.fetch_add\(0, Ordering::AcqRel\)/state.fetch_add(0, Ordering::Release)/; s/compare_exchange\(state, to, Ordering::AcqRel/compare_exchange(state, to, Ordering::Release/'
plant 'O8: any deadline passes for the earliest' grants.rs 's/if due < self.room.next_deadline\(\) \{/{/'
plant 'O9: a retirement looks at the debt with a load' mod.rs 's/self.debt.fetch_add\(0, Ordering::AcqRel\)/self.debt.load(Ordering::Acquire)/'
plant 'O12: an epoch publishes nothing' mod.rs 's/epoch.fetch_add\(1, Ordering::Release\)/epoch.fetch_add(1, Ordering::Relaxed)/'
plant 'O14: a waiter that leaves publishes nothing' room.rs 's/live.fetch_sub\(weight\(terms.is_part\), Ordering::AcqRel\)/live.fetch_sub(weight(terms.is_part), Ordering::Relaxed)/'

# Steps: claim and release.
plant 'an offer does not look at the waiters flag' bitmap.rs 's/if has_waiters\(seen\) \{\s*return false;/if false { return false;/'
plant 'a claim does not look at the flags' bitmap.rs 's/seen.cast_signed\(\) <= 0/seen & SLOTS == 0/; s/if seen & \(HAND_OFF \| CLOSED\) != 0 \{\s*return None/if false { return None/'
plant 'a releaser goes on without a count of its own' slots.rs 's/let pool = self.key.keep_alive\(\);(\s*if pool.idle\(\).put)/let pool = self.key.pool();$1/'
plant 'a vacated slot requests no dispatch' slots.rs 's/(Drop for Vacant.*?)pool.dispatch\(\);/$1/s'

# Steps: the waiting room.
plant 'a wake-up is dropped' waiters.rs 's/wakes.add\(waker\);/drop(waker);/'
plant 'the look after registering a waker is dropped' waiter.rs 's/let state = self.waiter.state.fetch_add\(0, Ordering::AcqRel\);/let state = WAITING;/'
plant 'the dispatcher leaves with requests unanswered' requests.rs 's/if requests == answered \{/if requests >= answered { self.0.store(0, Ordering::Release);/'
plant 'a known waker is not looked at again' waiter.rs 's/if !self.knows\(cx.waker\(\)\) \{/if self.knows(cx.waker()) { return Poll::Pending; } else {/'
plant 'a cancelled waiter keeps its grant' waiter.rs 's/None => drop\(granted\)/None => std::mem::forget(granted)/'
plant 'a refused arrival goes without a look' waiters.rs 's/(is_full\(room\.came.*?)self\.leave_line\(&terms\);/$1room.left(&terms);/s'
plant 'a waiter that has waited before goes to the end of the line' waiters.rs 's/queue.line.join_ahead\(waiter\)/queue.line.join(waiter)/'
plant 'a ticket that has claimed leaves its waker behind' waiter.rs 's/if !is_taken \|\| self.has_locked \{/if !is_taken {/'
plant 'the flags are lowered while waiters are left' waiters.rs 's/(claim_past_flags\(crate::sync::thread_number\(\)\) else \{\s*)return;/$1return self.lower_flags(queue);/'
plant 'the flags are raised after the idle bits were looked at' waiters.rs 's/self.raise_flags\(queue, Newcomers::MustWait\);\s*(let Some\(index\) = .*?else \{\s*)return;/$1self.raise_flags(queue, Newcomers::MustWait); return;/s'
plant 'an expired waiter is not woken' waiters.rs 's/(settle\(EXPIRED\) \{.*?)wakes.add\(waiter.take_waker\(\)\);/$1/s'
plant 'an expiry mark is kept' waiters.rs 's/self.room.expire_to.replace\(0\)/self.room.expire_to.get()/'

# Steps: patience.
plant 'a notified waiter is only looked at' waiter.rs 's/let before = self.leave_for\(NOTIFIED\)\?;/if self.state.load(Ordering::Acquire) == NOTIFIED { return Some(Notice::Known); } $&/'
plant 'a waiter that has left counts as notified' waiter.rs 's/let before = self.leave_for\(NOTIFIED\)\?;/let Some(before) = self.leave_for(NOTIFIED) else { return Some(Notice::Known) };/'
plant 'a notified waiter that leaves requests no dispatch' waiter.rs 's/(Some\(_\) => \{[^}]*?)self.pool.dispatch\(\);/$1/s'
plant 'a waiter that retries the claim remains notified' waiter.rs 's/if !self.waiter.exchange\(NOTIFIED, WAITING\) \{/if !self.waiter.exchange(NOTIFIED, NOTIFIED) {/'
plant 'a waiter that claims while it is notified requests no dispatch' waiter.rs 's/if before == NOTIFIED \{/if false {/'

# Steps: a grant that is not taken.
plant 'a taken-back slot is not acquired by who takes it next' waiter.rs 's/compare_exchange\(state, to, Ordering::AcqRel/compare_exchange(state, to, Ordering::Relaxed/'
plant 'a grant is taken back though it was taken' waiter.rs 's/self.state.compare_exchange\(state, to.*?ok\(\)\?;/self.state.store(to, Ordering::Release);/s'
plant 'a grant that is taken stays counted' waiter.rs 's/\n\s*pool\.granted\(\)\.subtract\(1\);//'
plant 'a grant that is refused stays counted' waiter.rs 's/slot\.pool\(\)\.granted\(\)\.subtract\(1\);//'
plant 'one that is late is not counted' grants.rs 's/self.room.came\(&terms\);//'
plant 'one that has taken its grant is counted as late' grants.rs 's/(queue.must_look_behind = true;\s*\} else \{\s*)self.room.left\(&terms\);/$1/'
plant 'one that is late goes to the end of the line' grants.rs 's/queue.stand\(waiter\)/queue.line.join(waiter)/'
plant 'a slot goes back to whom it was taken from' grants.rs 's/waiter.is_prompt\(\)/waiter.is_waiting()/'
plant 'one that is late every time stays in line' grants.rs 's/waiter.was_late \|\| //'
plant 'one that was late once is so for good' waiter.rs 's/LATE if self.waiter.exchange\(LATE, WAITING\) => self.come_back\(\),//'
plant 'who leaves does not look again at a grant that was taken back' waiter.rs 's/(withdraw\(self.pool, CANCELLED\) \{\s*return \(None, Some\(slot\)\);\s*\})/$1 return (None, None);/'
plant 'who takes does not look again at a grant that was taken back' waiter.rs 's/None => continue,/None => unreachable!(),/'
plant 'a close takes no grant back' waiters.rs 's/self.take_back\(queue, NEVER, wakes\);//'
plant 'the end of a grace is not noted' grants.rs 's/self.note_due\(lapses, waiter.due\);//'
plant 'who is handed a slot leaves what has lapsed' grants.rs 's/if self.room.next_deadline\(\) <= now \{/if false {/'
plant 'the line is never looked at' waiters.rs 's/if queue.earliest <= now \{/if false {/'
plant 'an arrival does not note its deadline in the line' waiters.rs 's/queue.earliest = queue.earliest.min\(waiter.terms.deadline\);//'
plant 'the deadline of an arrival is not noted' waiters.rs 's/self.note_due\(&mut queue.lapses, waiter.terms.deadline\);//'
plant 'what is left after an expiry is not noted' waiters.rs 's/self.note_due\(&mut queue.lapses, earliest\);//'
plant 'one that is late does not note its deadline in the line' room.rs 's/self.earliest = self.earliest.min\(waiter.terms.deadline\);//'
plant 'a notification is not noted in the line' waiters.rs 's/queue.earliest = queue.earliest.min\(waiter.due\);//'
plant 'a reserved slot is never taken back' grants.rs 's/self.room.inbox.push\(waiter\);//'
plant 'a grant outlives its waiter' grants.rs 's/\.min\(deadline\)//'
plant 'a notification never lapses' waiters.rs 's/usize::from\(waiter.due > now\)/1/'
plant 'one that comes back requests no dispatch' waiter.rs 's/(fn come_back\(.*?)self.pool.dispatch\(\);/$1/s'
plant 'nobody looks for those that come back' grants.rs 's/queue.must_look_behind = true;//'
plant 'one that waits ahead leaves those behind it what they have' waiters.rs 's/queue.must_look_behind = true;//'
plant 'those that come back later are forgotten' grants.rs 's/queue.must_look_behind = queue.line.*?;/queue.must_look_behind = false;/'
plant 'a round looks for those that are late once it has served others' grants.rs 's/(queue.must_look_behind = queue.line[^;]*;)(\s*for class in .*?\n        \})\n    \}/$2\n        $1\n    }/s'
plant 'what was taken for one that left goes on to the next' grants.rs 's/waiter.is_prompt\(\) \|\| waiter.was_robbed && waiter.place == place/waiter.is_prompt()/'
plant 'one that was robbed has let it lapse' waiters.rs 's/was_late && !waiter.was_robbed/was_late/'
plant 'one that has come back is hurried' standing.rs 's/!is_back && //'
plant 'one that comes back takes from those before it' grants.rs 's/waiter.place > first.place/waiter.place != first.place/'
plant 'each grace is long' grants.rs 's/now < lapses.hurried_until && //; s/waiter.may_be_hurried\(\)/false/'
plant 'after a lapse each grace is short for good' grants.rs 's/\.saturating_mul\(HURRIED_GRACES\)/.saturating_mul(u64::MAX)/'

plant 'O16: a new era publishes nothing' era.rs 's/fetch_add\(1, Ordering::AcqRel\)/fetch_add(1, Ordering::Relaxed)/'
plant 'O16: a connect acquires nothing' era.rs 's/current.load\(Ordering::Acquire\)/current.load(Ordering::Relaxed)/'

plant 'O17: the end of a pause publishes nothing' room.rs 's/fetch_or\(errand, Ordering::Release\)/fetch_or(errand, Ordering::Relaxed)/'
plant 'O17: a round acquires nothing of it' room.rs 's/swap\(0, Ordering::Acquire\)/swap(0, Ordering::Relaxed)/'

# Steps: pause, eras, turns.
plant 'a pause raises no flags' door.rs 's/self.idle.pause\(\);//'
plant 'a claim does not look at the paused flag' bitmap.rs 's/seen & \(HAND_OFF \| CLOSED \| PAUSED\)/seen & CLOSED/'
plant 'a round grants during a pause' waiters.rs 's/if is_paused \{/if false {/'
plant 'the dispatcher lowers the flags of a paused pool' bitmap.rs 's/match seen & \(CLOSED \| PAUSED\)/match seen & CLOSED/'
plant 'a resume leaves the flags as they are' door.rs 's/self.room.errands.note\(RESUMED\);//'
plant 'the paused flag stays up' door.rs 's/self.idle.resume\(\);//'
plant 'what is refused is told too early' mod.rs 's/(self.eras.refuse_before\(era\);)(.*?)(self.advance_epoch\(\);)/$3$2$1/s'
plant 'what is refused is told to nobody' mod.rs 's/(self.eras.refuse_before\(era\);.*?)self.advance_epoch\(\);/$1/s'
plant 'all have the turn at once' turn.rs 's/if line.current.is_none\(\) \{/if true {/'
plant 'the turn is not passed on' turn.rs 's/wake_all\(waker\);//'
plant 'one that leaves the line keeps its place' turn.rs 's/let own = at.and_then\(\|at\| line.waiting.remove\(at\)\)/let own = at.and_then(|at| line.waiting.get_mut(at).map(|own| (own.0, own.1.take())))/'

# Steps: classes.
plant 'a class is charged nothing' line.rs 's/class.pass \+= class.stride;//'
plant 'a class that does not wait saves its share up' line.rs 's/Some\(class.pass.saturating_sub\(reached\)\)/Some(0)/'
plant 'one that leaves is not counted off its class' room.rs 's/own.borrowers.fetch_sub\(1, Ordering::Relaxed\);(\s*\}\s*\/\/ O14: the last)/$1/'
plant 'the limit on waiters is one for all classes' room.rs 's/Some\(own\) => own.borrowers.fetch_add\(1, Ordering::Relaxed\)/Some(own) => { own.borrowers.fetch_add(1, Ordering::Relaxed); (before \/ BORROWER) as usize }/'
plant 'what lapses goes to another class' grants.rs 's/self.pass_on\(queue, class, slot, wakes, \|waiter\| waiter.is_prompt/self.pass_on(queue, 0, slot, wakes, |waiter| waiter.is_prompt/'

# Steps: shedding.
plant 'one that is shed is counted still' waiters.rs 's/(return;\s*\}\s*)self.room.left\(&waiter.terms\);/$1/'
plant 'one that is shed is not told' waiters.rs 's/waker.into_iter\(\).for_each\(\|waker\| self.room.crowd.push\(waker\)\);//'
plant 'the last is shed, too' shed.rs 's/line.has_several\(class\) &&/true &&/'
plant 'one that has left is shed' waiters.rs 's/if !waiter.settle\(to\) \{\s*return;\s*\}/_ = waiter.settle(to);/'

# Steps: close and resize.
plant 'the crowd is left to those who were woken' waiters.rs 's/wake_all\(std::iter::from_fn\(\|\| self.room.crowd.pop\(\)\)\);//'
plant 'a close raises no flags' door.rs 's/self.idle.close\(\);//'
plant 'a retired slot does not look at the debt' slots.rs 's/pool.settle_debt\(\);//'
plant 'a new limit requests no dispatch' mod.rs 's/(fn adjust.*?)self.dispatch\(\);/$1/s'
plant 'a vacant slot is used in spite of the debt' mod.rs 's/if !self.take_debt\(\) \{\s*return Some\(slot\);/if true { return Some(slot);/'

if [ "$planted" -eq 0 ]; then
  echo "no mistake is called '$pattern'"
  exit 1
fi
[ "$survivors" -eq 0 ] || exit 1
if $only_check; then echo "all $planted mistakes apply"; else echo "all $planted mistakes were caught"; fi
