/*
 * Peer.java - other people's side of a ZooKeeper registry: DolphinScheduler's
 * masters and workers as their own client, Curator, plays them.
 *
 * One JVM holds any number of sessions and is driven by lines, so that a test
 * says who does what and when. A line is words between tabs:
 *
 *     number  verb  session  argument...        a command
 *     number  ok     answer...                  its answer, in any order
 *     number  error  what went wrong
 *     event   session  kind  what               not asked for
 *
 *     open      S connect namespace timeout-ms  -> session id
 *     id        S                               -> session id, it may be new
 *     put       S path value                    ephemeral, as a heartbeat does
 *     register  S path value                    ephemeral, as a start does
 *     keep      S path value                    the same, persistent
 *     beat      S every-ms                      puts everything again, 0: stop
 *     delete    S path
 *     tree      S path                          -> one word a node, absolute
 *     acquire   S path owner timeout-ms         -> true, false
 *     release   S path owner
 *     cache     S path                          -> events of a TreeCache
 *     close     S                               an orderly leave
 *     expire    - connect session-id            ends somebody's session
 *     load      L connect root workers sessions timeout-ms every-ms
 *     unload    L
 *
 * What a crash leaves behind is played by killing this JVM. When its input
 * ends, it ends: no test leaves one behind.
 */
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;

public final class Peer {
    /** What a command answers: its words, none or several. */
    interface Work {
        String[] run() throws Exception;
    }

    private static final int EXPIRE_MS = 10000;

    private static final Map<String, Session> sessions = new ConcurrentHashMap<>();
    private static final Map<String, Load> loads = new ConcurrentHashMap<>();
    private static final ExecutorService others = Executors.newCachedThreadPool();

    private Peer() {
    }

    /** What happened, as one word of a line. */
    static String text(Exception e) {
        return e.toString().replaceAll("\\s+", " ");
    }

    /** One line at a time, whole, from any thread. */
    static void say(String... words) {
        byte[] line = (String.join("\t", words) + "\n").getBytes(StandardCharsets.UTF_8);
        synchronized (System.out) {
            System.out.write(line, 0, line.length);
            System.out.flush();
        }
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] w = line.split("\t", -1);
            try {
                dispatch(w);
            } catch (RuntimeException e) {
                say(w[0], "error", text(e));
            }
        }
        Runtime.getRuntime().halt(0);
    }

    /** Do `work` on `where`, whose thread may be busy, and answer then. */
    private static void answer(ExecutorService where, String number, Work work) {
        where.execute(() -> {
            try {
                String[] words = work.run();
                String[] line = new String[words.length + 2];
                line[0] = number;
                line[1] = "ok";
                System.arraycopy(words, 0, line, 2, words.length);
                say(line);
            } catch (Exception e) {
                say(number, "error", text(e));
            }
        });
    }

    private static void dispatch(String[] w) {
        String number = w[0];
        String name = w[2];
        switch (w[1]) {
        case "open":
            answer(others, number, () -> {
                Session s = new Session(name, w[3], w[4], Integer.parseInt(w[5]));
                sessions.put(name, s);
                return words(s.id());
            });
            return;
        case "expire":
            answer(others, number, () -> {
                expire(w[3], Long.parseUnsignedLong(w[4], 16));
                return words();
            });
            return;
        case "load":
            answer(others, number, () -> {
                Load load = new Load(w[3], w[4], Integer.parseInt(w[5]), Integer.parseInt(w[6]),
                                     Integer.parseInt(w[7]), Integer.parseInt(w[8]));
                loads.put(name, load);
                return words(Long.toString(load.start()));
            });
            return;
        case "unload":
            answer(others, number, () -> {
                loads.remove(name).close();
                return words();
            });
            return;
        default:
            ofSession(sessions.get(name), w);
        }
    }

    private static void ofSession(Session s, String[] w) {
        if (s == null)
            throw new IllegalArgumentException("no session " + w[2]);
        // A mutex belongs to the thread that took it, so each has its own.
        if (w[1].equals("acquire")) {
            answer(s.owner(w[3], w[4]), w[0],
                   () -> words(Boolean.toString(s.acquire(w[3], w[4], Long.parseLong(w[5])))));
        } else if (w[1].equals("release")) {
            answer(s.owner(w[3], w[4]), w[0], () -> {
                s.release(w[3], w[4]);
                return words();
            });
        } else {
            answer(s.thread(), w[0], () -> inSession(s, w));
        }
    }

    private static String[] inSession(Session s, String[] w) throws Exception {
        switch (w[1]) {
        case "id":
            return words(s.id());
        case "put":
            s.put(w[3], w[4]);
            return words();
        case "register":
            s.register(w[3], w[4]);
            return words();
        case "keep":
            s.keep(w[3], w[4]);
            return words();
        case "beat":
            s.beat(Long.parseLong(w[3]));
            return words();
        case "delete":
            s.delete(w[3]);
            return words();
        case "tree":
            return s.tree(w[3]);
        case "cache":
            s.cache(w[3]);
            return words();
        case "close":
            sessions.remove(w[2]);
            s.close();
            return words();
        default:
            throw new IllegalArgumentException("no verb " + w[1]);
        }
    }

    static String[] words(String... words) {
        return words;
    }

    /**
     * End a session behind its owner's back: a second handle takes it over and
     * closes it. The owner fights for it by reconnecting, so that this is tried
     * until the server says that there is no such session. A server makes the
     * password of a session from its number alone.
     */
    private static void expire(String connect, long id) throws Exception {
        byte[] password = new byte[16];
        long by = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(EXPIRE_MS);
        new Random(id ^ 0xB3415C00L).nextBytes(password);
        while (System.nanoTime() < by) {
            CountDownLatch decided = new CountDownLatch(1);
            KeeperState[] state = {null};
            ZooKeeper second = new ZooKeeper(connect, EXPIRE_MS, event -> {
                if (event.getState() == KeeperState.SyncConnected
                    || event.getState() == KeeperState.Expired) {
                    if (state[0] == null)
                        state[0] = event.getState();
                    decided.countDown();
                }
            }, id, password);
            decided.await(EXPIRE_MS, TimeUnit.MILLISECONDS);
            second.close();
            if (state[0] == KeeperState.Expired)
                return;
        }
        throw new IllegalStateException("session " + Long.toHexString(id) + " does not end");
    }
}
