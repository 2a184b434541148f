/*
 * Lines of Kafka's console consumer -> each detection once when it begins and once when it ends, as JSON lines.
 *
 * Uses nothing of Earwitness. Values must be JSON: the workers run with `output.format=json`. With Kafka's own
 * download, LIBS is its folder `libs`; without, fetch the same jars:
 *
 *     mvn -f pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=LIBS
 *
 * Then, against the broker that `make kafka` runs (bin/kafka-console-consumer.sh is the first command, wrapped):
 *
 *     java -cp 'LIBS/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server localhost:9092 \
 *         --topic audio.detections --from-beginning --property print.key=true \
 *         | java -cp 'LIBS/*' Upsert.java
 *
 * --timeout-ms 5000 ends it when nothing has come for so long. In a service of your own the lines come from a
 * KafkaConsumer, and the map is a table with the id as its primary key; the rest stays as it is.
 */

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

public final class Upsert {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final Map<String, JsonNode> detections = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        Upsert table = new Upsert();
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode detection = read(line);
            if (detection != null && table.upsert(detection)) {
                out.println(detection);
            }
        }
    }

    /** Returns whether this says anything new. The same may be said any number of times, and ACTIVE again
     *  after ENDED: a worker that took over says again what it cannot know to have been said. */
    private boolean upsert(JsonNode detection) {
        String id = detection.path("id").asText();
        JsonNode known = detections.get(id);
        boolean ended = detection.path("state").asText().equals("ENDED");
        if (known != null && (!ended || known.equals(detection))) {
            return false;
        }
        detections.put(id, detection);
        return true;
    }

    /** Returns the object in a line `key TAB value`, or null where there is none. A key holds no TAB, and a
     *  value no end of line. Fields that nobody here knows stay in the object and do no harm. */
    private static JsonNode read(String line) {
        String value = line.substring(line.indexOf('\t') + 1);
        if (value.equals("null")) {
            return null;
        }
        try {
            JsonNode found = JSON.readTree(value);
            if (found.path("id").isTextual() && found.path("state").isTextual()) {
                return found;
            }
        } catch (JsonProcessingException exception) {
            // Said below. An Avro value ends up here, too: see output.format.
        }
        System.err.println("not a detection in JSON: " + value.substring(0, Math.min(80, value.length())));
        return null;
    }
}
